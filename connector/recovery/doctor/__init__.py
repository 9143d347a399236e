"""What a newcomer gets wrong, checked one by one. A file a neighbour: what it says is fetched, then judged by pure functions."""

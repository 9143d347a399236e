"""When a message may leave: pure algebra over (state, now). Who holds the state, and where, is the caller's business."""

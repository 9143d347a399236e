"""From a due row to WhatsApp's answer: claim and judge, announce on the log, send, settle. One line a business number."""

"""Message templates: what Meta approved, kept current, and whether a send fills one in as it was approved.

developers.facebook.com/documentation/business-messaging/whatsapp/templates (components, management, pausing).
"""

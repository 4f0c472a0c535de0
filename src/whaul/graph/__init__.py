"""Meta's Graph API, as far as WhatsApp media and linked accounts need it."""

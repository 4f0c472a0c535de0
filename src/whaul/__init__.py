"""whaul: WhatsApp media into S3, behind the API of AWS End User Messaging Social."""

__version__ = "0.1.0"

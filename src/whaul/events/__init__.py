"""What Meta tells by webhooks: taken in, kept, sent on as AWS's events, and its files archived."""

"""Files of messages into the account's bucket: each until it is there, or cannot be had."""

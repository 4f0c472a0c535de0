"""The AWS side: the service from its model, requests read and checked, responses and errors written."""

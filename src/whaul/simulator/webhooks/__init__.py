"""Webhooks as Meta posts them: `examples` composes, `sender` delivers and tries again, `post` signs and sends."""

"""What an operator can see: logs (`logs`), metrics (`metrics`), and what is known of a call (`call`)."""

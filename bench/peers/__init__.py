"""What our measurements stand beside: services as people would write or run them."""

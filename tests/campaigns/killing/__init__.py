"""What the crash campaign is made of: producers, destinations, shots, and a verdict on what came of them."""

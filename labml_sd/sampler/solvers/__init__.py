"""One file a sampler: pure steps with their equations, and a class that runs them."""

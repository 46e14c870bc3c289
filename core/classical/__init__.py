"""Classical models: linear, Gaussian processes, small nets, neighbours, gradient boosting, and their input features."""

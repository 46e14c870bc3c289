"""What the service knows of itself: metrics, drift, live accuracy, alerts."""

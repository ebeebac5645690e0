"""TopClip's core: long videos in, checked top clips out. Knows neither Celery nor Flask nor Redis."""

__version__ = "0.1.0"

__all__ = ["__version__"]

"""Celery: moves values between stages, decides nothing about media."""

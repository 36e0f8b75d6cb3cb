"""What every operation and every system stands on; imports nothing above it."""

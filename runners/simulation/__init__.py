"""The common runner and the measurement run: policies through the AEC environment, learning disabled."""

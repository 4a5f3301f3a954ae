"""What the project promises about its own speed, as ratios measured side by side in one run."""

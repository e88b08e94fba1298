"""One call: TimeFrames to prompts, prompts to captions, captions into a view."""

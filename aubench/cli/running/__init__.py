"""Commands that run models, and on what runs need."""

"""Passages to a cited answer: context, prompt, language model, verified citations."""

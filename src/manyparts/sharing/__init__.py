"""Agents and datasets for others: cards, and the Hugging Face Hub."""

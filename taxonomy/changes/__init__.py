"""Governance of the knowledge: change sets, review, approval, publication and rollback."""

"""The knowledge: taxonomy, detector maps, frameworks and crosswalks, as immutable editions."""

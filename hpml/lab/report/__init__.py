"""The lab's page: a section for each part."""

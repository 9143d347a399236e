"""Parameters of a template from what the CRM knows: mapping, formats, language."""

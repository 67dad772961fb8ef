"""Files: scans that come in and masks that go out, in their own axis order and geometry."""

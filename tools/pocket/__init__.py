"""The cartoon world that trains the pocket model: pictures, captions and sound made from one seed."""

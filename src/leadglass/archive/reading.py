"""Reading parts of objects: metadata, frames, bulk values, rendered images."""

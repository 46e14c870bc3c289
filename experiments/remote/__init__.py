"""Remote runs on a cluster without a shared folder: payload out, artifacts back."""

"""nnU-Net v2's models brought in: what lies in their files becomes bundles and systems. nnunetv2 is not needed."""

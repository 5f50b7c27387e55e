"""From noise to latents: sigma tables, steppers, guidance and the one denoising loop."""

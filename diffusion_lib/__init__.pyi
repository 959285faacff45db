from . import homework, showing, training
from .data import Digits, like_mnist, load_digits
from .diffusion import ddim_step, ddpm_loss, p_sample, predict_eps, predict_x_start, q_posterior, q_sample
from .editing import inpaint_step, invert_ddim, renoise, sample_inpainting, slerp, windowed
from .embeddings import LabelEmbedding, TimeEmbedding, WordEmbedding, timestep_embedding
from .flow import as_noise, as_velocity, euler_step, flow_loss, sample_flow, straight_path
from .guidance import clipped, conditioned, guided
from .latents import Autoencoder, autoencoder_loss, decode_scaled, encode_scaled, generate_latents
from .metrics import DigitClassifier, Judge, label_agreement, nearest_neighbours, within_class_spread
from .oracles import correlated_oracle, finite_set_oracle, gaussian_oracle, point_oracle
from .predictions import predicting, prediction_loss
from .profiles import PROFILES, Profile, UNetConfig, get_profile
from .samplers import ddim_timesteps, draw_noise, generate, last, sample_ddim, sample_ddpm, sdedit
from .schedules import NoiseSchedule, cosine_betas, gather, linear_betas, make_schedule, straight_betas
from .training import Trainer, default_device, fit, load_autoencoder, load_classifier, load_model, load_pretrained
from .unet import Attention, ResBlock, UNet
from .words import Pages, draw_pages

__all__ = [
    "PROFILES",
    "Attention",
    "Autoencoder",
    "DigitClassifier",
    "Digits",
    "Judge",
    "LabelEmbedding",
    "NoiseSchedule",
    "Pages",
    "Profile",
    "ResBlock",
    "TimeEmbedding",
    "Trainer",
    "UNet",
    "UNetConfig",
    "WordEmbedding",
    "as_noise",
    "as_velocity",
    "autoencoder_loss",
    "clipped",
    "conditioned",
    "correlated_oracle",
    "cosine_betas",
    "ddim_step",
    "ddim_timesteps",
    "ddpm_loss",
    "decode_scaled",
    "default_device",
    "draw_noise",
    "draw_pages",
    "encode_scaled",
    "euler_step",
    "finite_set_oracle",
    "fit",
    "flow_loss",
    "gather",
    "gaussian_oracle",
    "generate",
    "generate_latents",
    "get_profile",
    "guided",
    "homework",
    "inpaint_step",
    "invert_ddim",
    "label_agreement",
    "last",
    "like_mnist",
    "linear_betas",
    "load_autoencoder",
    "load_classifier",
    "load_digits",
    "load_model",
    "load_pretrained",
    "make_schedule",
    "nearest_neighbours",
    "p_sample",
    "point_oracle",
    "predict_eps",
    "predict_x_start",
    "predicting",
    "prediction_loss",
    "q_posterior",
    "q_sample",
    "renoise",
    "sample_ddim",
    "sample_ddpm",
    "sample_flow",
    "sample_inpainting",
    "sdedit",
    "showing",
    "slerp",
    "straight_betas",
    "straight_path",
    "timestep_embedding",
    "training",
    "windowed",
    "within_class_spread",
]

__version__: str

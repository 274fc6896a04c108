"""Every setting, declared once: checked when made, immutable, JSON and TOML both ways.

`PRESETS` names the network sizes; `TrainConfig` holds a whole training and is what `train.py` reads from a TOML file
and from the command line.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from lipread.errors import ConfigError
from lipread.values import CROP_SIDE_PX, LIP_POINTS

AnyConfig = TypeVar("AnyConfig", bound="Config")
Decibels = Annotated[float, Field(ge=-100, le=100)]  # beyond, sound or noise is nothing


class Config(BaseModel):
    """Base: immutable, unknown fields refused, no infinite numbers (JSON could not hold them)."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class FrontendConfig(Config):
    """Pixel front-end: Conv3d stem + ResNet trunk with basic blocks."""

    width: int = Field(32, ge=4)  # channels after the stem; the trunk ends with 8 x width
    # basic blocks per stage; 2,2,2,2 is ResNet-18
    blocks: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt] = (2, 2, 2, 2)
    crop_side_px: int = Field(88, ge=16, le=CROP_SIDE_PX)  # the part of the 96 x 96 crop that is used
    input_side_px: int = Field(64, ge=16)  # side to which that part is reduced before the stem
    dropout: float = Field(0.2, ge=0, lt=1)


class GeometryConfig(Config):
    """Lip-geometry front-end: displacements and velocities of lip points through temporal convolutions."""

    points: int = Field(9, ge=1)
    width: int = Field(160, ge=4)
    layers: int = Field(3, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)


class AudioConfig(Config):
    """Audio front-end: log-mel bands through convolutions."""

    bands: int = Field(80, ge=8)
    width: int = Field(128, ge=4)
    layers: int = Field(3, ge=0)  # temporal convolutions at the rate of the video
    dropout: float = Field(0.1, ge=0, lt=1)


class EncoderConfig(Config):
    """BERT encoder; field names and defaults follow the published model."""

    hidden_size: int = Field(256, ge=4)
    num_hidden_layers: int = Field(5, ge=1)
    num_attention_heads: int = Field(4, ge=1)
    intermediate_size: int = Field(944, ge=4)  # with these sizes, half precision and sound, a file is 16 MB
    hidden_dropout_prob: float = Field(0.1, ge=0, lt=1)
    attention_probs_dropout_prob: float = Field(0.1, ge=0, lt=1)
    max_position_embeddings: int = Field(256, ge=2)
    type_vocab_size: int = Field(3, ge=1)  # segments: video, audio, both
    vocab_size: int | None = Field(None, ge=2)  # word embeddings, for language models
    layer_norm_eps: float = Field(1e-12, gt=0)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> EncoderConfig:
        if self.hidden_size % self.num_attention_heads:
            fitting = max(self.hidden_size // self.num_attention_heads, 1) * self.num_attention_heads
            raise ValueError(
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads="
                f"{self.num_attention_heads}; try {fitting}"
            )
        return self


class NetworkConfig(Config):
    """The whole network."""

    # what it looks at and listens to
    streams: tuple[Literal["pixels", "points", "sound"], ...] = Field(("pixels", "points"), min_length=1)
    frontend: FrontendConfig = FrontendConfig()
    geometry: GeometryConfig = GeometryConfig()
    audio: AudioConfig = AudioConfig()
    encoder: EncoderConfig = EncoderConfig()
    alphabet_size: int = Field(29, ge=2)  # CTC outputs, blank included
    classes: int = Field(0, ge=0)  # of the head on [CLS] that tells words or sentences apart; 0: there is none
    fusion_layers: int = Field(1, ge=0)  # temporal convolutions after the streams are joined
    position_jitter: int = Field(25, ge=0)  # in training, positions start at a random 0..this

    @model_validator(mode="after")
    def _streams_fit(self) -> NetworkConfig:
        if len(set(self.streams)) < len(self.streams):
            raise ValueError(f"streams={list(self.streams)} names one twice; leave it out")
        if "sound" in self.streams and self.encoder.type_vocab_size < 3:
            raise ValueError(
                f"type_vocab_size={self.encoder.type_vocab_size} is too few segments for lips, sound and both; give 3"
            )
        return self


PRESETS: dict[str, NetworkConfig] = {
    "tiny": NetworkConfig(
        frontend=FrontendConfig(width=4, blocks=(1, 1, 1, 1), input_side_px=32),
        geometry=GeometryConfig(width=16, layers=1),
        encoder=EncoderConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64),
        fusion_layers=1,
    ),
    "small": NetworkConfig(),
    "base": NetworkConfig(
        frontend=FrontendConfig(width=64, input_side_px=88),
        geometry=GeometryConfig(width=256),
        encoder=EncoderConfig(hidden_size=512, num_hidden_layers=5, num_attention_heads=8, intermediate_size=2048),
    ),
    "large": NetworkConfig(
        frontend=FrontendConfig(width=64, input_side_px=88),
        geometry=GeometryConfig(width=256),
        encoder=EncoderConfig(
            hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
            max_position_embeddings=512,
        ),
    ),
}


MOST_WEIGHT = 1000.0  # far more than makes a text win; much more is no longer a number beside the network's scores


class SearchConfig(Config):
    """How the text is searched in the log-probabilities: the same options from the shell, Python and the app."""

    decoder: Literal["greedy", "beam", "grammar"] | None = None  # None: greedy, or beam where a language model is given
    grammar: str | None = None  # bundled name or file, for the decoder `grammar`; None: grid
    lexicon: Path | None = None  # words that the beam may write, one per line; None: any
    lm: str | None = None  # language model: bundled name, ARPA file, folder of a BERT or of a Hugging Face model
    # weight of the language model, and what is added per word; None: as tuned and stored with the language model
    lm_weight: float | None = Field(None, ge=0, le=MOST_WEIGHT)
    word_score: float | None = Field(None, ge=-MOST_WEIGHT, le=MOST_WEIGHT)
    next_weight: float = Field(0.0, ge=0, le=MOST_WEIGHT)  # of a BERT's "this follows the utterance before"
    beam_size: int | None = Field(None, ge=1)  # None: 50
    nbest: int | None = Field(None, ge=1)  # candidates to keep; None: 10

    @model_validator(mode="after")
    def _options_fit(self) -> SearchConfig:
        if self.grammar is not None and self.decoder not in (None, "grammar"):
            raise ValueError(f"grammar={self.grammar!r} is for decoder='grammar', not for {self.decoder!r}")
        if self.lexicon is not None and self.decoder not in (None, "beam"):
            raise ValueError(f"lexicon={str(self.lexicon)!r} is for decoder='beam', not for {self.decoder!r}")
        if self.grammar is not None and self.lexicon is not None:
            raise ValueError("grammar and lexicon exclude one another; give one of them")
        if self.lm is not None and self.decoder == "greedy":
            raise ValueError("decoder='greedy' gives a single candidate, which no lm can reorder; use beam or grammar")
        if self.lm is None and self.lm_weight is not None:
            raise ValueError(f"lm_weight={self.lm_weight} without lm has nothing to weigh; give lm, or leave it out")
        if self.lm is None and self.next_weight:
            raise ValueError(f"next_weight={self.next_weight} without lm has nothing to weigh; give lm or leave it out")
        if self.nbest is not None and self.chosen_decoder == "greedy":
            raise ValueError(f"nbest={self.nbest} is for beam or grammar; greedy gives a single candidate")
        if self.beam_size is not None and self.chosen_decoder != "beam":
            raise ValueError(f"beam_size={self.beam_size} is for decoder='beam', not for {self.chosen_decoder!r}")
        if self.word_score is not None and self.lm is None and self.chosen_decoder != "beam":
            raise ValueError(f"word_score={self.word_score} is for decoder='beam', not for {self.chosen_decoder!r}")
        return self

    @property
    def chosen_decoder(self) -> str:
        """The decoder that these options ask for."""
        if self.decoder is not None:
            return self.decoder
        return "grammar" if self.grammar is not None else "beam" if self.lexicon or self.lm else "greedy"


class AugmentConfig(Config):
    """What is changed at random in training clips. Probabilities are per clip."""

    flip: float = Field(0.5, ge=0, le=1)
    shift_px: float = Field(3.0, ge=0)  # crop position, beside the random 88 in 96
    scale: float = Field(0.10, ge=0, lt=1)  # relative size, +-
    rotate_deg: float = Field(8.0, ge=0)
    warp_px: float = Field(0.0, ge=0)  # of a smooth random field of displacements, the same for the whole clip
    cut_out: float = Field(0.0, ge=0, le=1)  # share of clips with a rectangle hidden for some time
    light: float = Field(0.4, ge=0)  # strength of gamma, contrast and brightness changes
    blur: float = Field(0.3, ge=0, le=1)
    noise: float = Field(6.0, ge=0)  # largest standard deviation of grain, grey levels
    compress: float = Field(0.0, ge=0, le=1)  # share of clips with a codec's blocks
    stutter: float = Field(0.0, ge=0, le=1)  # share of clips with frames shown twice, the next ones lost
    sound_noise: float = Field(0.75, ge=0, le=1)  # share of clips whose sound is among noise
    snr_db: tuple[Decibels, Decibels] = (-5.0, 20.0)  # of that, least and most
    speed: float = Field(0.15, ge=0, lt=0.9)  # relative speed change, +-
    time_mask_frames: int = Field(10, ge=0)  # longest masked stretch, one per 25 frames
    point_noise: float = Field(0.008, ge=0)  # eye distances
    point_warp: float = Field(0.15, ge=0)  # relative change of mouth width, opening and slant
    sub_sentence: float = Field(0.25, ge=0, le=1)  # share of clips cut to some of their words, around rare ones
    trim: float = Field(0.5, ge=0, le=1)  # share of clips whose silence at both ends is cut short (quicker, too)
    splice: float = Field(0.3, ge=0, le=1)  # share of clips with words taken from other clips of the speaker

    @model_validator(mode="after")
    def _least_is_least(self) -> AugmentConfig:
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db={list(self.snr_db)} has the most first; give the least and then the most")
        return self


class TrainConfig(Config):
    """One training, whole."""

    data: tuple[Path, ...] = ()  # prepared folders
    # read sentences with CTC, or classify: words cut out of the clips, or whole clips whose text is the class; or learn
    # without words, to start from with `init`: tell what the lips do in frames that are hidden
    task: Literal["sentences", "words", "phrases", "frames"] = "sentences"
    word_frames: int = Field(29, ge=1)  # most frames of a word's clip, the word in their middle (LRW has 29)
    clusters: int = Field(100, ge=2, le=10_000)  # of lip shapes and motions, for the task `frames`
    hidden_share: float = Field(0.3, gt=0, lt=1)  # ... and the share of frames that are hidden
    # ... and the weight of telling whether a clip's second half is its own; above 0, half of them have another's
    next_clip_loss: float = Field(0.0, ge=0)
    out: Path = Path("runs/lipread")
    preset: Literal["tiny", "small", "base", "large"] = "small"
    network: NetworkConfig | None = None  # replaces the preset
    augment: AugmentConfig = AugmentConfig()
    # checkpoint whose weights to start from; or a run's folder: its best checkpoint and the heads of its helping losses
    init: Path | None = None
    word_symbols: int = Field(1000, ge=0)  # so many of the most frequent words get a symbol of their own
    word_symbol_count: int = Field(20, ge=1)  # ... if they occur at least so often
    seed: int = Field(0, ge=0, lt=2**63)
    stage: int = Field(0, ge=0)  # another number draws other batches and changes, of clips divided as `seed` says
    steps: int = Field(20_000, ge=1)
    warmup_steps: int = Field(500, ge=0)
    curriculum_steps: int = Field(1_000, ge=0)  # sub-sentences grow from one word to whole sentences over these
    batch_pixels: int = Field(12, ge=0)  # clips with pixels in a step
    batch_points: int = Field(20, ge=0)  # points-only clips in a step
    drawn_share: float = Field(0.3, ge=0, le=1)  # share of drawn heads among the pixel clips, where both are there
    accumulate: int = Field(1, ge=1)  # micro-batches that a step is split into
    learning_rate: float = Field(8e-4, gt=0)
    final_learning_rate: float = Field(1e-6, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(5.0, gt=0)
    frame_loss: float = Field(0.5, ge=0)  # weight of the word-per-frame loss from the word times
    symbols_in_words: bool = True  # CTC may put a word's symbol only where the word is said
    shape_loss: float = Field(1.0, ge=0)  # weight of telling the lip points from the pixels
    pixel_word_loss: float = Field(0.5, ge=0)  # weight of the word-per-frame loss of the pixels alone
    middle_ctc: float = Field(0.0, ge=0)  # weight of the CTC loss of the encoder's middle layer (arXiv:2102.03216)
    consistency: float = Field(0.0, ge=0)  # weight of the agreement of two views; above 0, clips with pixels come twice
    teachers: tuple[Path, ...] = ()  # checkpoints that read every clip as it is given; their mean is to be said again,
    teacher_loss: float = Field(0.5, gt=0)  # ... with this weight
    frontend_steps: int = Field(0, ge=0)  # first steps, in which the pixel front-end learns alone, from these two
    drop_pixels: float = Field(0.2, ge=0, le=1)  # share of clips with pixels whose pixels are dropped
    drop_points: float = Field(0.3, ge=0, le=1)  # ... whose points are dropped
    drop_sound: float = Field(0.25, ge=0, le=1)  # share of clips with sound whose sound is dropped
    drop_lips: float = Field(0.25, ge=0, le=1)  # ... whose pixels and points are dropped
    ema_decay: float = Field(0.999, ge=0, lt=1)  # exponential moving average of the weights, the one that is kept
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    freeze_batchnorm: bool = False
    freeze_frontend: bool = False
    learn: tuple[str, ...] = ()  # how the names of the weights begin that learn, the rest is kept; (): all
    held_out_speakers: tuple[str, ...] = ()  # speakers of `train` kept out, to choose for new people
    most_clips: int | None = Field(None, ge=1)  # real clips with pixels that are trained on, for learning curves
    most_people: int | None = Field(None, ge=1)  # ... and speakers of the points without pixels
    folds: int = Field(0, ge=0)  # above 1: `train` and `val` are dealt into so many parts anew
    fold: int = Field(0, ge=0)  # ... of which this one chooses
    evaluate_every: int = Field(500, ge=1)
    save_every: int = Field(100, ge=1)
    workers: int = Field(1, ge=0)  # processes that decode and augment
    threads: int | None = Field(None, ge=1)  # processor threads of the network
    # so many processes of torchrun share the frames of the same clips, which may then be longer than one has memory for
    context_processes: int = Field(1, ge=1)
    device: str = "auto"

    @model_validator(mode="after")
    def _some_clips(self) -> TrainConfig:
        if self.batch_pixels + self.batch_points == 0:
            raise ValueError("batch_pixels=0 and batch_points=0 leave nothing to train on; set one above 0")
        if self.drop_pixels + self.drop_points > 1:
            raise ValueError(
                f"drop_pixels={self.drop_pixels} and drop_points={self.drop_points} add up to more than 1; lower one"
            )
        if self.drop_sound + self.drop_lips > 1:
            raise ValueError(
                f"drop_sound={self.drop_sound} and drop_lips={self.drop_lips} add up to more than 1; lower one"
            )
        return self

    @model_validator(mode="after")
    def _fits_prepared_clips(self) -> TrainConfig:
        if (points := self.network_config.geometry.points) != len(LIP_POINTS):
            raise ValueError(f"geometry.points={points}: prepared clips have {len(LIP_POINTS)}; leave it out")
        return self

    @model_validator(mode="after")
    def _front_end_has_a_teacher(self) -> TrainConfig:
        if self.frontend_steps and not self.shape_loss and (not self.pixel_word_loss or self.task == "frames"):
            raise ValueError(
                f"frontend_steps={self.frontend_steps}: with shape_loss=0 and without pixel_word_loss nothing teaches "
                "the front-end alone; set one above 0"
            )
        return self

    @model_validator(mode="after")
    def _options_fit_the_task(self) -> TrainConfig:
        for name in ("consistency", "middle_ctc"):
            if self.task != "sentences" and (weight := getattr(self, name)):
                raise ValueError(
                    f"{name}={weight} is for task='sentences', whose CTC it helps, not for {self.task!r}; leave it out"
                )
        if self.next_clip_loss and self.task != "frames":
            raise ValueError(
                f"next_clip_loss={self.next_clip_loss} is for task='frames', which reads no text, not for "
                f"{self.task!r}; leave it out"
            )
        if self.teachers and self.task != "sentences":
            raise ValueError(f"teachers read sentences, and cannot help with task={self.task!r}; leave them out")
        return self

    @model_validator(mode="after")
    def _fold_exists(self) -> TrainConfig:
        if self.folds == 1 or (self.fold and self.fold >= self.folds):
            raise ValueError(f"fold={self.fold} of folds={self.folds} is no fold; take 2 folds or more, counted from 0")
        return self

    @property
    def classifies(self) -> bool:
        """Whether parts of clips are told apart as classes."""
        return self.task in ("words", "phrases")

    @property
    def draw_seed(self) -> int:
        """What batches, changes and dropout are drawn with."""
        return self.seed + self.stage * 2**64  # a seed lies below 2**63

    @property
    def init_checkpoint(self) -> Path | None:
        """The file of weights to start from."""
        return self.init / "best.safetensors" if self.init and self.init.is_dir() else self.init

    @property
    def network_config(self) -> NetworkConfig:
        """The network that is trained."""
        return self.network or PRESETS[self.preset]


class GridConfig(Config):
    """A search over settings, measured by cross-validation: every combination of the values, or named variants."""

    # dotted setting -> values to try
    grid: dict[str, Annotated[tuple[bool | int | float | str, ...], Field(min_length=1)]] = {}
    # name -> dotted setting -> the value that it changes; one that changes nothing is what the others stand beside
    variants: dict[str, dict[str, bool | int | float | str | tuple[int | float | str, ...]]] = {}
    folds: int = Field(5, ge=2)
    measured_folds: int | None = Field(None, ge=1)  # only the first ones; None: all

    @model_validator(mode="after")
    def _something_to_try(self) -> GridConfig:
        if bool(self.grid) == bool(self.variants):
            raise ValueError("give the values to try under [grid], or named changes under [variants.NAME]; not both")
        if self.measured_folds and self.measured_folds > self.folds:
            raise ValueError(f"measured_folds={self.measured_folds} is more than there are, folds={self.folds}")
        return self

    @property
    def choices(self) -> dict[str, tuple[bool | int | float | str, ...]]:
        """What is searched: name -> the values it may have."""
        return self.grid or {"variant": tuple(self.variants)}

    def settings(self, values: dict[str, Any]) -> dict[str, Any]:
        """One of the values of each of `choices` -> dotted settings."""
        return values if self.grid else dict(self.variants[values["variant"]])


def make_config(kind: type[AnyConfig], values: dict[str, Any], *, origin: str = "configuration") -> AnyConfig:
    """Build a configuration from plain values.

    Raises: ConfigError: one sentence with field, value got and value wanted.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        name = ".".join(path)
        if first["type"] == "extra_forbidden":
            said = f" is not a setting; {_known_settings(kind, path)}"
        elif first["type"] == "missing":
            said = " is missing"
        elif first["type"] == "value_error":  # our own sentence, which shows the values
            said = (": " if name else "") + first["msg"].removeprefix("Value error, ")
        else:
            said = f"={_short(first['input'])}: {re.sub('^(Input|Tuple) should', 'it should', first['msg'])}"
        raise ConfigError(f"{origin}: {name}{said}") from error


def _known_settings(kind: type[Config], path: list[str]) -> str:
    """What could have been meant by the unknown last part of a path."""
    for part in path[:-1]:
        annotation = kind.model_fields[part].annotation
        kind = next(k for k in (annotation, *get_args(annotation)) if isinstance(k, type) and issubclass(k, Config))
    close = difflib.get_close_matches(path[-1], kind.model_fields, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(kind.model_fields)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def load_toml(path: str | Path) -> dict[str, Any]:
    """Read settings from a TOML file. Raises: ConfigError: absent, not text, or not TOML."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of a TOML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file in UTF-8; give the path of a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML ({error}); correct that line") from error

"""Which rows the tables of README and docs/results.md have; ``tools.results`` writes them from the kept runs.

SHORT and LONG: rows of (SET:METHOD, words), SET being docs/results/SET.json. GAINS: (SET:METHOD, SET:METHOD), the first
over the second, seed by seed. GROWN: training sets of several sizes and shares of wrong labels, (words, rows,
percent of wrong rows, the sets that have its results), and GROWN_METHODS the methods compared on them.
"""

from __future__ import annotations

SHORT = {
    "readme": (
        ("cifar10n_images:ce_equal", "plain cross-entropy"),
        ("cifar10n_images:balanced_equal", "the same, classes drawn evenly"),
        ("cifar10n_images:elr_plus", "ELR+'s parts"),
        ("cifar10n_images:pci", "PCI's recipe, in our reading"),
        ("cifar10n_images:mixup", "mixup, classes drawn evenly"),
        ("cifar10n_images:urnet_images", "**URNet, from images alone**"),
        ("cifar10n_metadata:+label", "**URNet, with simulated titles and search ranks**, which no baseline reads"),
    )
}
LONG = {
    "images": (
        ("cifar10n_images:ce_equal", "plain cross-entropy, `ce_equal`"),
        ("cifar10n_images:balanced_equal", "the same, classes drawn evenly, `balanced_equal`"),
        ("cifar10n_images:dividemix", "DivideMix, `dividemix`"),
        ("cifar10n_images:sop", "SOP, `sop`"),
        ("cifar10n_images:elr", "ELR, `elr`"),
        ("cifar10n_images:elr_plus", "ELR+'s parts, `elr_plus`"),
        ("cifar10n_images:pci", "PCI's recipe, `pci`"),
        ("cifar10n_images:mixup", "mixup, classes drawn evenly, `mixup`"),
        ("cifar10n_images:urnet_images/class", "URNet: class size"),
        ("cifar10n_images:urnet_images/instance", "+ instance"),
        ("cifar10n_images:urnet_images", "+ label: **URNet, images alone**, `urnet_images`"),
    ),
    "metadata": (
        ("cifar10n_metadata:class", "URNet: class size"),
        ("cifar10n_metadata:+instance", "+ instance"),
        ("cifar10n_metadata:+label", "+ label: **URNet**, `+label`"),
    ),
    "five_stages": (
        ("cifar10n_five_stages:class", "URNet: class size"),
        ("cifar10n_five_stages:+cluster", "+ cluster"),
        ("cifar10n_five_stages:+instance", "+ instance"),
        ("cifar10n_five_stages:+bag", "+ bag"),
        ("cifar10n_five_stages:+label", "+ label"),
    ),
    "digits": (
        ("digits:ce_equal", "plain cross-entropy, `ce_equal`"),
        ("digits:pci", "PCI's recipe, `pci`"),
        ("digits:mixup", "mixup, classes drawn evenly, `mixup`"),
        ("digits:urnet_images/class", "URNet: class size"),
        ("digits:urnet_images/instance", "+ instance"),
        ("digits:urnet_images", "+ label: **URNet, images alone**, `urnet_images`"),
    ),
    "photos": (
        ("photos:ce_equal", "all rows alike, `ce_equal`"),
        ("photos:elr_plus", "ELR+'s parts, `elr_plus`"),
        ("photos:pci", "PCI's recipe, `pci`"),
        ("photos:+finetune", "**the recipe**, `+finetune`"),
    ),
    "photos_frozen": (
        ("photos:ce_equal/class", "all rows alike, `ce_equal/class`"),
        ("photos:balanced_equal/class", "classes drawn evenly, `balanced_equal/class`"),
        ("photos:mixup/mixup", "mixup, `mixup/mixup`"),
        ("photos:elr/elr", "ELR, `elr/elr`"),
        ("photos:sop/sop", "SOP, `sop/sop`"),
        ("photos:generalised/generalised", "generalised cross-entropy, `generalised/generalised`"),
        ("photos:elr_plus/elr_plus", "ELR+'s parts, `elr_plus/elr_plus`"),
        ("photos:pci/c", "PCI's recipe, `pci/c`"),
        ("photos:class", "the recipe: class size"),
        ("photos:+cluster", "+ cluster"),
        ("photos:+instance", "+ instance: **the recipe**, `+instance`"),
        ("photos:oracle/class", "rightly labelled rows alone, `oracle/class`"),
    ),
}
GAINS = {
    "images_gains": (
        ("cifar10n_images:urnet_images", "cifar10n_images:mixup"),
        ("cifar10n_images:urnet_images", "cifar10n_images:pci"),
        ("cifar10n_images:urnet_images", "cifar10n_images:ce_equal"),
        ("cifar10n_metadata:+label", "cifar10n_five_stages:+label"),
    ),
    "digits_gains": (("digits:urnet_images", "digits:pci"), ("digits:urnet_images", "digits:mixup")),
    "photos_gains": (("photos:+finetune", "photos:pci"), ("photos:+instance", "photos:pci/c")),
}
GROWN: tuple[tuple[str, int, float, tuple[str, ...]], ...] = (
    ("a quarter", 1763, 43.4, ("growth_quarter",)),
    ("half", 3521, 44.2, ("growth_half",)),
    ("all", 7040, 43.2, ("cifar10n_images", "cifar10n_metadata")),
    ("20 % wrong", 1758, 20.0, ("wrong_20",)),
    ("40 % wrong", 1758, 40.0, ("wrong_40",)),
    ("60 % wrong", 1758, 60.0, ("wrong_60",)),
)
GROWN_METHODS = ("ce_equal", "urnet_images", "+label")

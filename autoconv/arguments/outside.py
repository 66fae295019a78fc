"""Names of Keras, TensorFlow and PyTorch that autoconv lacks. The error for such a name states the reason or an
alternative.
"""

import sys

import numpy as np

_SEQUENCES = "Sequences are out of scope: autoconv has no recurrent, text or attention layers"
_OTHER_RANKS = "Data with one or three dimensions is out of scope: images in autoconv are (N, H, W, C)"
_QUANTIZED = "Mixed and quantized precision are out of scope"
_TABLES = "Tabular data is out of scope"
_SOUND = "Audio is out of scope"

_REASONS = {
    _SEQUENCES: """LSTM GRU SimpleRNN RNN Bidirectional TimeDistributed ConvLSTM1D ConvLSTM2D ConvLSTM3D LSTMCell
        GRUCell SimpleRNNCell StackedRNNCells Embedding ReversibleEmbedding Attention AdditiveAttention
        MultiHeadAttention GroupQueryAttention GroupedQueryAttention Masking TextVectorization StringLookup
        IntegerLookup Hashing HashedCrossing
        text_dataset_from_directory timeseries_dataset_from_array pad_sequences Tokenizer
        imdb reuters edit_distance ctc CTC ctc_decode ctc_loss SpatialDropout1D MultiHeadDotProductAttention
        dot_product_attention disable_flash_attention enable_flash_attention is_flash_attention_enabled""",
    _OTHER_RANKS: """Conv1D Conv3D Conv1DTranspose Conv3DTranspose Convolution1D Convolution3D DepthwiseConv1D
        SeparableConv1D MaxPooling1D MaxPooling3D AveragePooling1D AveragePooling3D MaxPool1D MaxPool3D AvgPool1D
        AvgPool3D GlobalMaxPooling1D GlobalMaxPooling3D GlobalAveragePooling1D GlobalAveragePooling3D UpSampling1D
        UpSampling3D ZeroPadding1D ZeroPadding3D Cropping1D Cropping3D SpatialDropout3D RandomCropping3D
        AdaptiveAveragePooling1D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling3D
        Convolution1DTranspose Convolution3DTranspose GlobalAvgPool1D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool3D
        SeparableConvolution1D extract_patches_3d""",
    _QUANTIZED: """LossScaleOptimizer mixed_precision quantizers Quantizer dtype_policies DTypePolicy FloatDTypePolicy
        dtype_policy set_dtype_policy saturate_cast quantize quantization_mode""",
    _TABLES: "Discretization CategoryEncoding FeatureSpace california_housing boston_housing",
    _SOUND: """MelSpectrogram STFTSpectrogram audio_dataset_from_directory STFT STFTInitializer stft istft rfft irfft
        extract_sequences""",
    "Bounding boxes are out of scope": "bounding_boxes MaxNumBoundingBoxes",
    "Complex numbers are out of scope": "polar view_as_complex view_as_real fft fft2 ifft2",
    "Linear algebra beyond matrix products is out of scope: use numpy.linalg": """cholesky cholesky_inverse det eig eigh
        inv logdet lstsq lu_factor matrix_rank pinv qr slogdet solve solve_triangular svd linalg cdist""",
    "Operations for loops and branches are out of scope: write loops and branches in Python": """associative_scan cond
        fori_loop map scan switch vectorized_map while_loop""",
    "Losses for embeddings are out of scope": "Circle circle",
    "Distillation, in which one net teaches another, is out of scope": "distillation",
    "Several optimizers in one model are out of scope": "MultiOptimizer OptimizerMap",
    "Pretrained models are out of scope: autoconv downloads no weights": """applications MobileNet MobileNetV2
        MobileNetV3Small MobileNetV3Large VGG16 VGG19 ResNet50 ResNet101 ResNet152 ResNet50V2 InceptionV3 Xception
        DenseNet121 DenseNet169 DenseNet201 NASNetMobile EfficientNetB0 EfficientNetV2B0 ConvNeXtTiny""",
    "Other backends are out of scope: autoconv has only its own backend": """JaxLayer FlaxLayer TorchModuleWrapper
        TFSMLayer tree distribution jvp custom_gradient set_backend is_nnx_enabled StatelessScope SymbolicScope
        Operation Function name_scope OrbaxCheckpoint get_source_inputs""",
    "Remote services are out of scope": "RemoteMonitor",
}
REASON = {name: reason for reason, names in _REASONS.items() for name in names.split()}


_INSTEAD = {
    "autoconv's augmentation layers are RandomFlip, RandomRotation, RandomZoom, RandomTranslation, RandomContrast, "
    "RandomBrightness, RandomCrop and RandomErasing": """AugMix AutoContrast
        ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization MixUp Pipeline RandAugment
        RandomColorDegeneration RandomColorJitter RandomElasticTransform RandomGaussianBlur RandomGrayscale
        RandomHue RandomInvert RandomPerspective RandomPosterization RandomSaturation RandomSharpness
        RandomShear Solarization elastic_transform perspective_transform""",
    "Use GlobalAveragePooling2D, which accepts images of any size": """AdaptiveAveragePooling2D AdaptiveMaxPooling2D
        adaptive_average_pool adaptive_max_pool""",
    "Write a custom layer that stores the wrapped layer in an attribute": "Wrapper SpectralNormalization",
    "Use the layers Dense, Permute and Reshape": "EinsumDense",
    "Pass remat=True to compile": "RematScope remat",
    "autoconv's optimizers are SGD, RMSprop, Adam, AdamW, Nadam, Adamax, Adagrad, Adadelta, Lion, Muon and Ftrl":
        "Adafactor Lamb ScheduleFreeAdamW",
    "Use the argument verbose of fit, evaluate and predict, which controls their progress line": """ProgbarLogger
        Progbar enable_interactive_logging disable_interactive_logging is_interactive_logging_enabled""",
    "Tracebacks of autoconv are short and are not filtered": """enable_traceback_filtering disable_traceback_filtering
        is_traceback_filtering_enabled""",
    "autoconv never runs code from a file": "enable_unsafe_deserialization",
    "Pass epochs and steps_per_epoch to fit": "max_epochs max_steps_per_epoch set_max_epochs set_max_steps_per_epoch",
    "Use the functions of autoconv.config, one for each setting": "Config",
    "autoconv's data sets are digits, mnist, fashion_mnist and cifar10. For folders of pictures, "
    "use utils.image_dataset_from_directory": "cifar100",
    "Pass validation_split to fit, or split the arrays with slices such as x[:n]": "split_dataset",
    "Use utils.plot_model, which draws the same graph": "model_to_dot",
    "Use models.load_model for Keras's files, and Model.from_config for configurations": "KerasFileEditor",
    "Use formats.to_onnx or the command `autoconv export` to write files for other programs": "export",
    "Use to('cuda') or to('cpu') of a model or a tensor": "device cuda cpu",
    "Layers choose unique names themselves. Pass name= to a layer to choose its name": "get_uid",
    "Use np.result_type, which returns the dtype in which NumPy computes": "result_type",
    "Keras has this module only for compatibility with older versions": "legacy",
    "Use utils.image_dataset_from_directory or utils.load_img to read pictures": "preprocessing",
    "Use autoconv.pictures to draw filters, feature maps and mistakes": "visualization",
    "Use autoconv.wrappers.Classifier or Regressor": "SKLearnClassifier SKLearnRegressor SKLearnTransformer",
    "Use uniform, normal, randint or permutation of autoconv.random. Layers and initializers accept a seed":
        "beta binomial categorical dropout gamma shuffle truncated_normal",
    "Use a slice such as x[1:3] to read a part of a tensor, and ops.where or ops.concatenate to combine tensors":
        """slice slice_update scatter scatter_update get_item segment_max segment_min segment_prod segment_sum""",
    "Use reshape and transpose to rearrange the elements":
        "depth_to_space space_to_depth fold unfold rearrange view permute extract_patches",
    "Use ops.one_hot, then ops.max": "multi_hot",
    "Use ops.where to avoid a division by 0": "divide_no_nan",
    "Use layers.RMSNormalization": "rms_normalization",
    "Use a metric of autoconv.metrics to compare two arrays": "psnr ssim",
    "Use ops.conv with a suitable kernel": "gaussian_blur sobel_edges",
    "Use ops.image.affine_transform or ops.image.resize": "map_coordinates scale_and_translate",
    "The only colour conversion is ops.image.rgb_to_grayscale": "hsv_to_rgb rgb_to_hsv",
    "The only error function is ops.erf": "erfc erfinv",
    "Call backward() of the loss. The attribute grad of each weight is then its gradient": "GradientTape",
    "Steps are compiled without a decorator": "function",
    "Use ops.cast": "astype float double half int long",
    "Use ops.expand_dims": "unsqueeze",
    "Use ac.tensor(x.detach()) for a copy": "clone",
    "Use the property size or shape without parentheses": "numel",
    "Pass requires_grad=True to ac.tensor": "requires_grad_",
    "A tensor's values do not change. Use a Variable, which has assign, assign_add and assign_sub":
        "assign assign_add assign_sub zero_ fill_ copy_ add_ sub_ mul_ div_",
    "Call retain_grad() before backward() to read the gradient of a tensor": "register_hook",
    "Use trainable_weights, or weights for all": "parameters named_parameters",
    "Pass training=True or training=False when you call the model": "train eval",
    "Define call(self, x, training=False)": "forward",
    "Use formats.to_torch_state_dict(model) and formats.from_torch_state_dict(model, state)":
        "state_dict load_state_dict",
    "Call apply(gradients, weights) after backward()": "step minimize",
    "Use layers.Layer or Model as the base class": "Module",
    "Use layers.Dense": "Linear",
    "Use ac.tensor": "from_numpy",
    "Use utils.set_random_seed": "manual_seed",
    "Pass shuffle=True to utils.image_dataset_from_directory": "ImageDataset.shuffle",
    "Pass batch_size to utils.image_dataset_from_directory; None gives single images":
        "ImageDataset.batch ImageDataset.unbatch",
    "Pass epochs to fit, which reads the data set once per epoch": "ImageDataset.repeat",
    "Use a for loop over the data set, whose batches are arrays": "ImageDataset.as_numpy_iterator",
}
INSTEAD = {name: advice for advice, names in _INSTEAD.items() for name in names.split()}


def answer(name: str, owner: str = "") -> str:
    """Returns advice for the error about a name that `owner`, a module or class, lacks: the reason, or what
    to use instead: for a tensor's method, the function of `ops`, for an array function, NumPy's. Returns "" for
    all other names.
    """
    name = f"{owner}.{name}" if f"{owner}.{name}" in INSTEAD else name
    if name in REASON:
        return f" {REASON[name]}."
    if name in INSTEAD:
        return f" {INSTEAD[name]}."
    if owner in ("Tensor", "Variable") and callable(vars(sys.modules["autoconv.ops"]).get(name)):
        return f" Use ops.{name}."
    if owner.startswith("autoconv.ops") and callable(getattr(np, name, None)):
        return (" autoconv.ops has only the functions that convolutional nets use. "
                f"Use np.{name} on x.numpy(). NumPy computes no gradients.")
    return ""

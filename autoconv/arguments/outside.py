"""Keras's names that autoconv has not, and why: the answer where somebody asks for one of them."""

import numpy as np

_SEQUENCES = "sequences: recurrent, text and attention layers"
_OTHER_RANKS = "data of one or three dimensions: its images are (N, H, W, C)"
_QUANTIZED = "quantized or mixed precision"
_TABLES = "tables of features"
_SOUND = "sound"

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
    "bounding boxes": "bounding_boxes MaxNumBoundingBoxes",
    "complex numbers": "polar view_as_complex view_as_real fft fft2 ifft2",
    "linear algebra beyond products: numpy.linalg has it": """cholesky cholesky_inverse det eig eigh inv logdet lstsq
        lu_factor matrix_rank pinv qr slogdet solve solve_triangular svd linalg cdist""",
    "loops and branches as operations: write them in Python": """associative_scan cond fori_loop map scan switch
        vectorized_map while_loop""",
    "losses of pairs and other embeddings": "Circle circle",
    "a net taught by another one": "distillation",
    "several optimizers in one model": "MultiOptimizer OptimizerMap",
    "nets that were trained elsewhere: it downloads no weights": """applications MobileNet MobileNetV2 MobileNetV3Small
        MobileNetV3Large VGG16 VGG19 ResNet50 ResNet101 ResNet152 ResNet50V2 InceptionV3 Xception DenseNet121
        DenseNet169 DenseNet201 NASNetMobile EfficientNetB0 EfficientNetV2B0 ConvNeXtTiny""",
    "other back ends: it is one itself": """JaxLayer FlaxLayer TorchModuleWrapper TFSMLayer tree distribution jvp
        custom_gradient set_backend is_nnx_enabled StatelessScope SymbolicScope RematScope remat Operation
        Function name_scope OrbaxCheckpoint get_source_inputs""",
    "remote services": "RemoteMonitor",
}
REASON = {name: reason for reason, names in _REASONS.items() for name in names.split()}


_INSTEAD = {
    "layers has RandomFlip, RandomRotation, RandomZoom, RandomTranslation, RandomContrast, RandomBrightness and "
    "RandomCrop": """AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization MixUp Pipeline
        RandAugment RandomColorDegeneration RandomColorJitter RandomElasticTransform RandomErasing RandomGaussianBlur
        RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization RandomSaturation RandomSharpness
        RandomShear Solarization elastic_transform perspective_transform""",
    "GlobalAveragePooling2D takes images of any size": """AdaptiveAveragePooling2D AdaptiveMaxPooling2D
        adaptive_average_pool adaptive_max_pool""",
    "write a layer of your own that has the other one in an attribute": "Wrapper SpectralNormalization",
    "Dense, Permute and Reshape compute what nets of images need of it": "EinsumDense",
    "optimizers has SGD, RMSprop, Adam, AdamW, Nadam, Adamax, Adagrad, Adadelta, Lion and Ftrl":
        "Adafactor Lamb Muon ScheduleFreeAdamW",
    "fit, evaluate and predict take verbose, and show a line of progress themselves": """ProgbarLogger Progbar
        enable_interactive_logging disable_interactive_logging is_interactive_logging_enabled""",
    "errors are short as they are": """enable_traceback_filtering disable_traceback_filtering
        is_traceback_filtering_enabled""",
    "code in files is never run": "enable_unsafe_deserialization",
    "fit takes epochs and steps_per_epoch": "max_epochs max_steps_per_epoch set_max_epochs set_max_steps_per_epoch",
    "config has a function for each setting": "Config",
    "the sets are mnist, fashion_mnist and cifar10; utils.image_dataset_from_directory reads folders": "cifar100",
    "fit takes validation_split; arrays are split by x[:n]": "split_dataset",
    "utils.plot_model draws the same": "model_to_dot",
    "models.load_model reads files of Keras, Model.from_config configurations": "KerasFileEditor",
    "formats.to_onnx and `autoconv export` write files for other programs": "export",
    "models and tensors have to('cuda')": "device",
    "layers get their names by themselves, or by name=": "get_uid",
    "np.result_type gives the dtype in which NumPy computes": "result_type",
    "it was for older versions of Keras": "legacy",
    "utils.image_dataset_from_directory and utils.load_img read pictures": "preprocessing",
    "autoconv.pictures draws filters, feature maps and mistakes": "visualization",
    "autoconv.wrappers has Classifier and Regressor": "SKLearnClassifier SKLearnRegressor SKLearnTransformer",
    "autoconv.random draws arrays: uniform, normal, randint, permutation; layers and initializers take a seed":
        "beta binomial categorical dropout gamma shuffle truncated_normal",
    "a slice x[1:3] takes a part; ops.where and ops.concatenate put others together": """slice slice_update
        scatter scatter_update get_item segment_max segment_min segment_prod segment_sum""",
    "reshape and transpose move the items": "depth_to_space space_to_depth fold unfold rearrange view extract_patches",
    "ops.one_hot and ops.max give it": "multi_hot",
    "ops.where keeps a quotient from 0": "divide_no_nan",
    "layers.RMSNormalization computes it": "rms_normalization",
    "metrics has what tells how far two arrays are apart": "psnr ssim",
    "ops.conv with a kernel computes it": "gaussian_blur sobel_edges",
    "ops.image.affine_transform and resize move pixels": "map_coordinates scale_and_translate",
    "ops.image.rgb_to_grayscale is the one change of colours": "hsv_to_rgb rgb_to_hsv",
    "ops.erf is there": "erfc erfinv",
}
INSTEAD = {name: what for what, names in _INSTEAD.items() for name in names.split()}


def answer(name: str, module: str = "") -> str:
    """A sentence where a name that `module` lacks is one of Keras's: that autoconv is not for it, or what does the same
    here. Of functions of arrays it is what NumPy has. Else nothing.
    """
    if name in REASON:
        return f" autoconv is not for {REASON[name]}."
    if name in INSTEAD:
        return f" autoconv has no {name}: {INSTEAD[name]}."
    if module.startswith("autoconv.ops") and callable(getattr(np, name, None)):
        return f" autoconv.ops has what nets of images are made of; np.{name} takes x.numpy(), without gradients."
    return ""

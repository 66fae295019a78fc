"""Keras's names for what autoconv is not for, and why: the answer where somebody asks for one of them."""

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
        imdb reuters edit_distance ctc CTC ctc_decode SpatialDropout1D MultiHeadDotProductAttention""",
    _OTHER_RANKS: """Conv1D Conv3D Conv1DTranspose Conv3DTranspose Convolution1D Convolution3D DepthwiseConv1D
        SeparableConv1D MaxPooling1D MaxPooling3D AveragePooling1D AveragePooling3D MaxPool1D MaxPool3D AvgPool1D
        AvgPool3D GlobalMaxPooling1D GlobalMaxPooling3D GlobalAveragePooling1D GlobalAveragePooling3D UpSampling1D
        UpSampling3D ZeroPadding1D ZeroPadding3D Cropping1D Cropping3D SpatialDropout3D RandomCropping3D""",
    _QUANTIZED: "LossScaleOptimizer mixed_precision quantizers Quantizer DTypePolicy dtype_policies FloatDTypePolicy",
    _TABLES: "Discretization CategoryEncoding FeatureSpace california_housing boston_housing",
    _SOUND: "MelSpectrogram STFTSpectrogram audio_dataset_from_directory",
    "nets that were trained elsewhere: it downloads no weights": """applications MobileNet MobileNetV2 MobileNetV3Small
        MobileNetV3Large VGG16 VGG19 ResNet50 ResNet101 ResNet152 ResNet50V2 InceptionV3 Xception DenseNet121
        DenseNet169 DenseNet201 NASNetMobile EfficientNetB0 EfficientNetV2B0 ConvNeXtTiny""",
    "other back ends: it is one itself": "JaxLayer FlaxLayer TorchModuleWrapper TFSMLayer tree distribution",
    "remote services": "RemoteMonitor",
}
REASON = {name: reason for reason, names in _REASONS.items() for name in names.split()}


def answer(name: str) -> str:
    """` autoconv is not for ...` where a name is of Keras's and outside of what autoconv is for, else nothing."""
    return f" autoconv is not for {REASON[name]}." if name in REASON else ""

using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Models;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>A whole text-to-image model of the smallest size: 16×16 pixels, random weights.</summary>
internal static class TinyPipeline
{
    public static SchedulerConfig Scheduler { get; } = SchedulerConfig.StableDiffusion with
    {
        PredictionType = PredictionType.VPrediction,
        RescaleBetasZeroSnr = true,
        TimestepSpacing = TimestepSpacing.Trailing,
        StepsOffset = 0,
    };

    public static StableDiffusionPipeline Create(ulong seed = 1, Func<UNetConfig, UNetConfig>? change = null)
    {
        using var generator = new Generator(seed);
        var tokenizer = ClipTokenizer.Train(["portrait, long hair, blue shirt"], vocabularySize: 600, modelMaxLength: 12);
        var textEncoder = new ClipTextModel(new ClipTextConfig
        {
            VocabSize = tokenizer.VocabularySize,
            HiddenSize = 6,
            IntermediateSize = 12,
            NumHiddenLayers = 2,
            NumAttentionHeads = 2,
            MaxPositionEmbeddings = 12,
            EosTokenId = (int)tokenizer.EosTokenId,
        });
        textEncoder.Initialize(generator);
        var unetConfig = TinyModels.UNet with { InChannels = 3, OutChannels = 3, SampleSize = 8 };
        var unet = new UNet2DConditionModel(change is null ? unetConfig : change(unetConfig), generator);
        return new StableDiffusionPipeline(tokenizer, textEncoder, unet, new AutoencoderKL(TinyModels.Vae, generator), Scheduler);
    }

    /// <summary>The same of SDXL's kind: two text encoders of different sizes, no transformer at the highest resolution, text and sizes added to the time.</summary>
    /// <param name="isUsual">Whether all that shapes do not tell is as in SDXL: heads of size 64, 32 groups, 256 features of a size, its scaling factor.</param>
    public static StableDiffusionPipeline CreateXL(bool isUsual = false)
    {
        var (width, unit) = isUsual ? (64, 64) : (4, 2);
        var tokenizer = ClipTokenizer.Train(["portrait, long hair, blue shirt"], vocabularySize: 600, modelMaxLength: 12);
        var first = Encoder(tokenizer, new ClipTextConfig { HiddenSize = width, NumAttentionHeads = width / unit, IntermediateSize = 8, HiddenAct = "quick_gelu" }, 1);
        var second = Encoder(tokenizer, new ClipTextConfig { HiddenSize = 2 * width, NumAttentionHeads = 2 * width / unit, IntermediateSize = 16, HiddenAct = "gelu", HasProjection = true, ProjectionDim = 5 }, 2);
        var text = new TextEncoders(tokenizer, first, tokenizer.PaddedWith("!"), second) { ForceZerosForEmptyPrompt = true };
        var features = isUsual ? 256 : 4;
        var unet = TinyModels.UNet with
        {
            InChannels = 3,
            OutChannels = 3,
            SampleSize = 8,
            DownBlockTypes = ["DownBlock2D", "CrossAttnDownBlock2D"],
            UpBlockTypes = ["CrossAttnUpBlock2D", "UpBlock2D"],
            UseLinearProjection = true,
            CrossAttentionDim = 3 * width,
            AdditionEmbedType = "text_time",
            AdditionTimeEmbedDim = features,
            ProjectionClassEmbeddingsInputDim = 6 * features + 5,
        };
        var vae = TinyModels.Vae;
        if (isUsual)
        {
            unet = unet with { BlockOutChannels = [64, 128], NormNumGroups = 32, AttentionHeadDim = (int[])[1, 2] };
            vae = vae with { BlockOutChannels = [32, 64], NormNumGroups = 32, ScalingFactor = 0.13025 };
        }

        return new StableDiffusionPipeline(text, new UNet2DConditionModel(unet, new Generator(3)), new AutoencoderKL(vae, new Generator(5)), Scheduler);
    }

    private static ClipTextModel Encoder(ClipTokenizer tokenizer, ClipTextConfig config, ulong seed)
    {
        var encoder = new ClipTextModel(config with { VocabSize = tokenizer.VocabularySize, NumHiddenLayers = 3, MaxPositionEmbeddings = 12, EosTokenId = (int)tokenizer.EosTokenId });
        encoder.Initialize(new Generator(seed));
        return encoder;
    }
}

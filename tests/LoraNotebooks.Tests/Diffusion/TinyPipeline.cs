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
}

using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using static TorchSharp.torch;

namespace Notebooks.Tests;

/// <summary>
/// A model of SDXL's kind with random weights, for 64 × 64 pixels: two text encoders, no transformer at the highest resolution,
/// text and sizes added to the time.
/// </summary>
internal static class TinyXL
{
    private const int SizeFeatures = 8;
    private const int PooledSize = 24;

    /// <summary>Writes its folder in diffusers layout.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="tokenizerFolder">The folder of CLIP's vocabulary.</param>
    /// <returns>The folder.</returns>
    public static string Save(string folder, string tokenizerFolder)
    {
        var tokenizer = ClipTokenizer.FromFolder(tokenizerFolder);
        var text = new TextEncoders(tokenizer, Encoder(16, tokenizer, seed: 1), tokenizer, Encoder(32, tokenizer, seed: 2)) { ForceZerosForEmptyPrompt = true };
        var unet = new UNetConfig
        {
            SampleSize = 32,
            BlockOutChannels = [16, 32],
            NormNumGroups = 8,
            LayersPerBlock = 1,
            DownBlockTypes = ["DownBlock2D", "CrossAttnDownBlock2D"],
            UpBlockTypes = ["CrossAttnUpBlock2D", "UpBlock2D"],
            TransformerLayersPerBlock = (int[])[1, 2],
            AttentionHeadDim = (int[])[2, 4],
            UseLinearProjection = true,
            CrossAttentionDim = 16 + 32,
            AdditionEmbedType = "text_time",
            AdditionTimeEmbedDim = SizeFeatures,
            ProjectionClassEmbeddingsInputDim = 6 * SizeFeatures + PooledSize,
        };
        var vae = new AutoencoderKLConfig
        {
            BlockOutChannels = [8, 16],
            NormNumGroups = 4,
            DownBlockTypes = ["DownEncoderBlock2D", "DownEncoderBlock2D"],
            UpBlockTypes = ["UpDecoderBlock2D", "UpDecoderBlock2D"],
            ScalingFactor = 0.13025,
        };
        using var pipeline = new StableDiffusionPipeline(
            text,
            new UNet2DConditionModel(unet, new Generator(3)),
            new AutoencoderKL(vae, new Generator(4)),
            SchedulerConfig.StableDiffusion);
        pipeline.Save(folder);
        return folder;
    }

    private static ClipTextModel Encoder(int size, ClipTokenizer tokenizer, ulong seed)
    {
        var encoder = new ClipTextModel(new ClipTextConfig
        {
            VocabSize = tokenizer.VocabularySize,
            HiddenSize = size,
            IntermediateSize = 2 * size,
            NumHiddenLayers = 3,
            NumAttentionHeads = size / 8,
            MaxPositionEmbeddings = tokenizer.ModelMaxLength,
            EosTokenId = (int)tokenizer.EosTokenId,
            HasProjection = size == 32,
            ProjectionDim = PooledSize,
        });
        encoder.Initialize(new Generator(seed));
        return encoder;
    }
}

using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Pretraining;

/// <summary>
/// Trains the embedded base "avatar-diffusion" from nothing: autoencoder, decoder, then UNet with text encoder.
/// Each stage saves its state and a stopped run goes on where it was.
/// </summary>
public static class BasePretraining
{
    /// <summary>The longest caption in tokens, start and end included.</summary>
    private const int MaxTokens = 40;

    /// <summary>Enough for every word of the corpus to become one token; other words split into pieces.</summary>
    private const int VocabularySize = 1_024;

    /// <summary>Runs what is still to do and writes the model in diffusers layout, float16.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="progress">Receives numbers every 25 steps.</param>
    /// <param name="cancellation">Stops after the present step; run again with the same configuration to go on.</param>
    /// <exception cref="ArgumentException">The configuration has faults; all are listed.</exception>
    public static void Run(PretrainingConfig config, IProgress<PretrainingStep>? progress = null, CancellationToken cancellation = default)
    {
        config.ThrowIfInvalid();
        Directory.CreateDirectory(config.StateFolder);
        var vaeFolder = Path.Combine(config.StateFolder, "vae");
        if (!File.Exists(Path.Combine(vaeFolder, "config.json")))
        {
            TrainAutoencoder(config, vaeFolder, progress, cancellation);
        }

        TrainDenoiser(config, vaeFolder, progress, cancellation);
    }

    /// <summary>Writes the model as it is now, from the saved states, without training: to look at a run while it goes on.</summary>
    public static void Export(PretrainingConfig config)
    {
        using var scope = NewDisposeScope();
        using var corpus = PortraitCorpus.Load(config.Corpus, "train");
        var (unet, text, tokenizer) = NewDenoiser(config, corpus);
        using var optimizer = PretrainingLoop.NewOptimizer([.. unet.parameters(), .. text.parameters()], config.AverageDecay);
        PretrainingLoop.Load(Path.Combine(config.StateFolder, "denoiser.safetensors"), optimizer);
        optimizer.UseEvaluationWeights();
        SavePipeline(config, AutoencoderKL.FromFolder(Path.Combine(config.StateFolder, "vae")), unet, text, tokenizer);
    }

    private static void TrainAutoencoder(PretrainingConfig config, string folder, IProgress<PretrainingStep>? progress, CancellationToken cancellation)
    {
        using var scope = NewDisposeScope();
        using var corpus = PortraitCorpus.Load(config.Corpus, "train", "vae");
        using var generator = new Generator((ulong)config.Seed);
        var vae = new AutoencoderKL(
            new AutoencoderKLConfig
            {
                SampleSize = 64,
                BlockOutChannels = [16, 32, 64],
                DownBlockTypes = ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
                UpBlockTypes = ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
                LayersPerBlock = 1,
                LatentChannels = 4,
                NormNumGroups = 8,
                MidBlockAddAttention = false,
                ScalingFactor = 1,
            },
            generator);
        vae.to(AutoencoderPretraining.DType(config));
        AutoencoderPretraining.TrainBoth(vae, corpus, config, progress, cancellation);
        vae.to(ScalarType.Float32);
        AutoencoderPretraining.NormaliseLatents(vae, corpus);
        vae.to(AutoencoderPretraining.DType(config));
        AutoencoderPretraining.TrainDecoder(vae, corpus, config, progress, cancellation);
        vae.to(ScalarType.Float32);
        vae.Save(folder);
    }

    private static void TrainDenoiser(PretrainingConfig config, string vaeFolder, IProgress<PretrainingStep>? progress, CancellationToken cancellation)
    {
        using var scope = NewDisposeScope();
        using var corpus = PortraitCorpus.Load(config.Corpus, "train");
        var vae = AutoencoderKL.FromFolder(vaeFolder);
        var latents = AutoencoderPretraining.Encode(vae, corpus);
        var (unet, text, tokenizer) = NewDenoiser(config, corpus);
        unet.to(AutoencoderPretraining.DType(config));
        text.to(AutoencoderPretraining.DType(config));
        DenoiserPretraining.Train(unet, text, tokenizer, new NoiseSchedule(Scheduler()), latents, corpus.Tags, config, progress, cancellation);
        SavePipeline(config, vae, unet, text, tokenizer);
    }

    private static (UNet2DConditionModel UNet, ClipTextModel Text, ClipTokenizer Tokenizer) NewDenoiser(PretrainingConfig config, PortraitCorpus corpus)
    {
        using var generator = new Generator((ulong)config.Seed + 1);
        var tokenizer = ClipTokenizer.Train(corpus.Tags.SelectMany(static tags => tags), VocabularySize, MaxTokens);
        var unet = new UNet2DConditionModel(
            new UNetConfig
            {
                SampleSize = 16,
                BlockOutChannels = [48, 96, 144],
                LayersPerBlock = 1,
                DownBlockTypes = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                UpBlockTypes = ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
                AttentionHeadDim = new int[] { 1, 2, 3 },
                CrossAttentionDim = 128,
                NormNumGroups = 16,
            },
            generator);
        var text = new ClipTextModel(new ClipTextConfig
        {
            VocabSize = tokenizer.VocabularySize,
            HiddenSize = 128,
            IntermediateSize = 512,
            NumHiddenLayers = 3,
            NumAttentionHeads = 4,
            MaxPositionEmbeddings = MaxTokens,
            EosTokenId = (int)tokenizer.EosTokenId,
        });
        text.Initialize(generator);
        return (unet, text, tokenizer);
    }

    private static void SavePipeline(PretrainingConfig config, AutoencoderKL vae, UNet2DConditionModel unet, ClipTextModel text, ClipTokenizer tokenizer)
    {
        unet.to(ScalarType.Float32);
        text.to(ScalarType.Float32);
        // The pipeline takes its parts over; the text encoder and the UNet go on living with their caller's scope.
        new StableDiffusionPipeline(tokenizer, text, unet, vae, Scheduler()).Save(config.Output, ScalarType.Float16);
    }

    private static SchedulerConfig Scheduler() => new()
    {
        ClassName = "DDIMScheduler",
        BetaStart = 0.00085,
        BetaEnd = 0.012,
        BetaSchedule = BetaSchedule.ScaledLinear,
        PredictionType = PredictionType.VPrediction,
        TimestepSpacing = TimestepSpacing.Trailing,
        RescaleBetasZeroSnr = true,
        ClipSample = false,
        SetAlphaToOne = true,
    };
}

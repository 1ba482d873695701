using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>A dataset as the loop wants it: latents computed once, captions encoded once where that is possible, batches drawn by seed.</summary>
internal sealed class TrainingSet : IDisposable
{
    private readonly StableDiffusionPipeline pipeline;
    private readonly DiffusionTrainingConfig config;
    private readonly PreparedDataset dataset;
    private readonly TrainingSeeds seeds;
    private readonly Device device;
    private readonly TrainingNoiseSource noise;
    private readonly Tensor latents;
    private readonly Tensor? weights;
    private readonly Tensor? timeIds;
    private readonly Dictionary<string, Conditioning> encodedCaptions = new(StringComparer.Ordinal);

    /// <summary>Encodes the images, and the captions where they stay the same and the text encoder is frozen.</summary>
    /// <exception cref="ArgumentException">The images' size does not fit the autoencoder, or their latents are not finite.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public TrainingSet(
        StableDiffusionPipeline pipeline,
        DiffusionTrainingConfig config,
        PreparedDataset dataset,
        NoiseSchedule schedule,
        CancellationToken cancellationToken)
    {
        (this.pipeline, this.config, this.dataset) = (pipeline, config, dataset);
        seeds = new TrainingSeeds(config.Seed);
        noise = new TrainingNoiseSource(config, schedule, seeds);
        device = pipeline.UNet.parameters().First().device;
        RequireSize(dataset, pipeline.Vae.DownsamplingFactor);

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var encoded = Enumerable.Range(0, dataset.Count).Select(i => EncodeImage(i, cancellationToken)).ToArray();
        if (!config.TrainsTextEncoder && !config.Captions.Shuffle && config.Captions.TagDropout == 0)
        {
            foreach (var caption in dataset.Images.Select(image => image.Caption).Append("").Distinct())
            {
                cancellationToken.ThrowIfCancellationRequested();
                encodedCaptions[caption] = pipeline.Text.Encode([caption], config.ClipSkip, config.Reading);
            }
        }

        latents = stack(encoded).DetachFromDisposeScope();
        timeIds = pipeline.TimeIds(dataset.Images.Select(SizesOf))?.DetachFromDisposeScope();
        float[] counts = [.. dataset.Images.Select(image => (float)(image.LossWeight * (image.IsRegularization ? config.PriorLossWeight : 1)))];
        weights = Array.TrueForAll(counts, count => count == 1) ? null : tensor(counts, device: device).DetachFromDisposeScope();
        foreach (var caption in encodedCaptions.Values)
        {
            caption.DetachFromDisposeScope();
        }
    }

    /// <summary>A batch with its noise and timesteps.</summary>
    /// <param name="indices">The images.</param>
    /// <param name="number">The batch's number in the whole run, from 0, which the random numbers hang on.</param>
    public DiffusionBatch Draw(IReadOnlyList<int> indices, long number)
    {
        using var scope = NewDisposeScope();
        var rows = tensor(indices.Select(i => (long)i).ToArray(), device: device);
        var text = EncodeCaptions(indices, number) with { TimeIds = timeIds?.index_select(0, rows) };
        using var noGradient = no_grad();
        var clean = latents.index_select(0, rows);
        var (epsilon, input, timesteps) = noise.Draw(clean, number);
        return new DiffusionBatch(
            clean.MoveToOuterDisposeScope(),
            epsilon.MoveToOuterDisposeScope(),
            timesteps.MoveToOuterDisposeScope(),
            text.MoveToOuterDisposeScope())
        {
            InputNoise = input?.MoveToOuterDisposeScope(),
            Weights = weights?.index_select(0, rows).MoveToOuterDisposeScope(),
        };
    }

    public void Dispose()
    {
        latents.Dispose();
        weights?.Dispose();
        timeIds?.Dispose();
        foreach (var caption in encodedCaptions.Values)
        {
            caption.Dispose();
        }
    }

    /// <summary>What SDXL is told of an image: the picture that it was cut from, and the size that is trained on.</summary>
    private static SizeConditions SizesOf(PreparedImage image) =>
        new(image.Origin.Width, image.Origin.Height, image.Origin.Left, image.Origin.Top, image.Image.Width, image.Image.Height);

    /// <summary>Scaled latents of one image, float32 [C, h, w]: the mean of the autoencoder's distribution, or one draw from it.</summary>
    private Tensor EncodeImage(int index, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var scope = NewDisposeScope();
        var weights = pipeline.Vae.parameters().First();
        var distribution = pipeline.Vae.Encode(dataset.Pixels([index]).to(weights.dtype).to(weights.device));
        using var generator = seeds.Generator(RandomUse.Latents, index);
        var encoded = config.SampleLatents
            ? distribution.Sample(randn(distribution.Mean.shape, generator: generator).to(weights.dtype).to(weights.device))
            : distribution.Mean;
        var scaled = pipeline.Vae.ScaleLatents(encoded.to(ScalarType.Float32)).squeeze(0).to(device);
        return scaled.isfinite().all().item<bool>()
            ? scaled.MoveToOuterDisposeScope()
            : throw new ArgumentException(
                $"{dataset.Images[index].Name}: got latents that are not finite from the autoencoder. Load the pipeline in float32, or remove the image.");
    }

    /// <summary>What the text encoder makes of captions, with its graph where it trains; without sizes, in which images of one caption may differ.</summary>
    private Conditioning EncodeCaptions(IReadOnlyList<int> indices, long number)
    {
        using var generator = seeds.Generator(RandomUse.Captions, number);
        string[] captions = [.. indices.Select(i => config.Captions.Draw(dataset.Images[i].Caption, generator))];
        if (encodedCaptions.Count > 0)
        {
            return Conditioning.Concat([.. captions.Select(caption => encodedCaptions[caption])]);
        }

        using var gradient = set_grad_enabled(config.TrainsTextEncoder);
        return pipeline.Text.Encode(captions, config.ClipSkip, config.Reading);
    }

    private static void RequireSize(PreparedDataset dataset, int factor)
    {
        if (dataset.Width % factor != 0 || dataset.Height % factor != 0)
        {
            throw new ArgumentException(
                $"Got images of {dataset.Width} × {dataset.Height} pixels, expected multiples of {factor}, by which the autoencoder shrinks them. "
                    + "Prepare the dataset with another resolution.",
                nameof(dataset));
        }
    }
}

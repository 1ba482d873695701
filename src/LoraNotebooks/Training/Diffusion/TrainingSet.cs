using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>A dataset as the loop wants it: latents computed once, captions encoded once where that is possible, batches drawn by seed.</summary>
internal sealed class TrainingSet : IDisposable
{
    private readonly StableDiffusionPipeline _pipeline;
    private readonly DiffusionTrainingConfig _config;
    private readonly PreparedDataset _dataset;
    private readonly TrainingSeeds _seeds;
    private readonly Device _device;
    private readonly TrainingNoiseSource _noise;
    private readonly Tensor _latents;
    private readonly Tensor? _weights;
    private readonly Tensor? _timeIds;
    private readonly Dictionary<string, Conditioning> _encodedCaptions = new(StringComparer.Ordinal);

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
        (_pipeline, _config, _dataset) = (pipeline, config, dataset);
        _seeds = new TrainingSeeds(config.Seed);
        _noise = new TrainingNoiseSource(config, schedule, _seeds);
        _device = pipeline.UNet.parameters().First().device;
        RequireSize(dataset, pipeline.Vae.DownsamplingFactor);

        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var encoded = Enumerable.Range(0, dataset.Count).Select(i => EncodeImage(i, cancellationToken)).ToArray();
        if (!config.TrainsTextEncoder && !config.Captions.Shuffle && config.Captions.TagDropout == 0)
        {
            foreach (var caption in dataset.Images.Select(image => image.Caption).Append("").Distinct())
            {
                cancellationToken.ThrowIfCancellationRequested();
                _encodedCaptions[caption] = pipeline.Text.Encode([caption], config.ClipSkip, config.Reading);
            }
        }

        _latents = stack(encoded).DetachFromDisposeScope();
        _timeIds = pipeline.TimeIds(dataset.Images.Select(SizesOf))?.DetachFromDisposeScope();
        float[] counts = [.. dataset.Images.Select(image => (float)(image.LossWeight * (image.IsRegularization ? config.PriorLossWeight : 1)))];
        _weights = Array.TrueForAll(counts, count => count == 1) ? null : tensor(counts, device: _device).DetachFromDisposeScope();
        foreach (var caption in _encodedCaptions.Values)
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
        var rows = tensor(indices.Select(i => (long)i).ToArray(), device: _device);
        var text = EncodeCaptions(indices, number) with { TimeIds = _timeIds?.index_select(0, rows) };
        using var noGradient = no_grad();
        var clean = _latents.index_select(0, rows);
        var (epsilon, input, timesteps) = _noise.Draw(clean, number);
        return new DiffusionBatch(
            clean.MoveToOuterDisposeScope(),
            epsilon.MoveToOuterDisposeScope(),
            timesteps.MoveToOuterDisposeScope(),
            text.MoveToOuterDisposeScope())
        {
            InputNoise = input?.MoveToOuterDisposeScope(),
            Weights = _weights?.index_select(0, rows).MoveToOuterDisposeScope(),
        };
    }

    public void Dispose()
    {
        _latents.Dispose();
        _weights?.Dispose();
        _timeIds?.Dispose();
        foreach (var caption in _encodedCaptions.Values)
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
        var weights = _pipeline.Vae.parameters().First();
        var distribution = _pipeline.Vae.Encode(_dataset.Pixels([index]).to(weights.dtype).to(weights.device));
        using var generator = _seeds.Generator(RandomUse.Latents, index);
        var encoded = _config.SampleLatents
            ? distribution.Sample(randn(distribution.Mean.shape, generator: generator).to(weights.dtype).to(weights.device))
            : distribution.Mean;
        var scaled = _pipeline.Vae.ScaleLatents(encoded.to(ScalarType.Float32)).squeeze(0).to(_device);
        return scaled.isfinite().all().item<bool>()
            ? scaled.MoveToOuterDisposeScope()
            : throw new ArgumentException(
                $"{_dataset.Images[index].Name}: got latents that are not finite from the autoencoder. Load the pipeline in float32, or remove the image.");
    }

    /// <summary>What the text encoder makes of captions, with its graph where it trains; without sizes, in which images of one caption may differ.</summary>
    private Conditioning EncodeCaptions(IReadOnlyList<int> indices, long number)
    {
        using var generator = _seeds.Generator(RandomUse.Captions, number);
        string[] captions = [.. indices.Select(i => _config.Captions.Draw(_dataset.Images[i].Caption, generator))];
        if (_encodedCaptions.Count > 0)
        {
            return Conditioning.Concat([.. captions.Select(caption => _encodedCaptions[caption])]);
        }

        using var gradient = set_grad_enabled(_config.TrainsTextEncoder);
        return _pipeline.Text.Encode(captions, _config.ClipSkip, _config.Reading);
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

using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Pretraining;

/// <summary>
/// The first stage: an autoencoder whose latents are four times smaller than the picture on each side, as in latent diffusion
/// (Rombach et al., arXiv:2112.10752, section 3.1), then its decoder alone with the encoder frozen.
/// </summary>
internal static class AutoencoderPretraining
{
    /// <summary>Encoder and decoder together.</summary>
    public static void TrainBoth(
        AutoencoderKL vae, PortraitCorpus corpus, PretrainingConfig config, IProgress<PretrainingStep>? progress, CancellationToken cancellation)
    {
        using var optimizer = PretrainingLoop.NewOptimizer([.. vae.parameters()], config.AverageDecay);
        PretrainingLoop.Run("autoencoder", config, optimizer, config.AutoencoderSteps, config.AutoencoderBatch, config.AutoencoderLearningRate,
            (_, generator) =>
            {
                var pixels = MirroredBatch(corpus, config.AutoencoderBatch, generator);
                var (mean, logVariance) = vae.Encode(pixels.to(DType(config)));
                var noise = randn(mean.shape, generator: generator).to(mean.dtype);
                var decoded = vae.Decode(mean.Plus(logVariance.Times(0.5).exp() * noise)).to(ScalarType.Float32);

                // KL(q ‖ N(0,1)) = ½ (μ² + σ² − 1 − log σ²), as a mean over the latent's elements.
                var (m, v) = (mean.to(ScalarType.Float32), logVariance.to(ScalarType.Float32));
                var divergence = (m.Squared().Plus(v.exp()).Minus(1) - v).mean().Times(0.5);
                return Reconstruction(decoded, pixels).Plus(divergence.Times(config.KlWeight));
            },
            progress, cancellation);
        optimizer.UseEvaluationWeights();
    }

    /// <summary>The decoder alone: it learns to draw sharp lines from latents that carry a little of the noise a denoiser leaves.</summary>
    public static void TrainDecoder(
        AutoencoderKL vae, PortraitCorpus corpus, PretrainingConfig config, IProgress<PretrainingStep>? progress, CancellationToken cancellation)
    {
        const double residualNoise = 0.05;
        var trained = vae.named_parameters()
            .Where(static p => p.name.StartsWith("decoder.", StringComparison.Ordinal)).Select(static p => p.parameter).ToList();
        using var optimizer = PretrainingLoop.NewOptimizer(trained, config.AverageDecay);
        PretrainingLoop.Run("decoder", config, optimizer, config.DecoderSteps, config.AutoencoderBatch, config.AutoencoderLearningRate / 2,
            (_, generator) =>
            {
                var pixels = MirroredBatch(corpus, config.AutoencoderBatch, generator);
                Tensor latents;
                using (no_grad())
                {
                    var (mean, _) = vae.Encode(pixels.to(DType(config)));
                    latents = mean.Plus(mean.std().Times(residualNoise) * randn(mean.shape, generator: generator).to(mean.dtype));
                }

                return Reconstruction(vae.Decode(latents).to(ScalarType.Float32), pixels);
            },
            progress, cancellation);
        optimizer.UseEvaluationWeights();
    }

    /// <summary>
    /// Rescales the latents to mean 0 and standard deviation 1 per channel by folding the change into the 1×1 convolutions
    /// beside the bottleneck, so that the model keeps the plain layout with <c>scaling_factor</c> 1.
    /// </summary>
    public static void NormaliseLatents(AutoencoderKL vae, PortraitCorpus corpus)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var latents = Encode(vae, corpus, limit: 4096);
        var mean = latents.mean([0, 2, 3]);
        var deviation = latents.std([0, 2, 3]);
        var channels = mean.shape[0];
        var parameters = vae.named_parameters().ToDictionary(static p => p.name, static p => p.parameter);
        var (weightIn, biasIn) = (parameters["quant_conv.weight"], parameters["quant_conv.bias"]);
        var (weightOut, biasOut) = (parameters["post_quant_conv.weight"], parameters["post_quant_conv.bias"]);

        // z' = (z − μ)/σ on the way in (the log-variance moves by −2·log σ), z = σ·z' + μ on the way out.
        weightIn.narrow(0, 0, channels).div_(deviation.view(-1, 1, 1, 1).to(weightIn.dtype));
        biasIn.narrow(0, 0, channels).sub_(mean.to(biasIn.dtype)).div_(deviation.to(biasIn.dtype));
        biasIn.narrow(0, channels, channels).sub_(deviation.log().to(biasIn.dtype).Times(2));
        biasOut.Plus_(weightOut.view(channels, channels).to(ScalarType.Float32).mv(mean).to(biasOut.dtype));
        weightOut.mul_(deviation.view(1, -1, 1, 1).to(weightOut.dtype));
    }

    /// <summary>The latent means of the first portraits, float32 [N, C, h, w].</summary>
    public static Tensor Encode(AutoencoderKL vae, PortraitCorpus corpus, int limit = int.MaxValue)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        const int batch = 64;
        var dtype = vae.parameters().First().dtype;
        var parts = new List<Tensor>();
        var count = Math.Min(limit, corpus.Count);
        for (var start = 0; start < count; start += batch)
        {
            using var inner = NewDisposeScope();
            var pixels = corpus.Batch(Arithmetic.Range(start, Math.Min(start + batch, count), ScalarType.Int64));
            parts.Add(vae.Encode(pixels.to(dtype)).Mean.to(ScalarType.Float32).MoveToOuterDisposeScope());
        }

        return cat(parts).MoveToOuterDisposeScope();
    }

    /// <summary>The type that a stage computes in.</summary>
    public static ScalarType DType(PretrainingConfig config) => config.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32;

    private static Tensor MirroredBatch(PortraitCorpus corpus, int batch, Generator generator)
    {
        var pixels = corpus.Batch(randint(0, corpus.Count, [batch], dtype: ScalarType.Int64, generator: generator));
        var mirrored = rand([batch, 1, 1, 1], generator: generator).IsBelow(0.5);
        return where(mirrored, pixels.flip(3), pixels);
    }

    /// <summary>L1 + 2·MSE + ½·L1 of the picture's gradients: the last term keeps outlines sharp.</summary>
    internal static Tensor Reconstruction(Tensor decoded, Tensor pixels)
    {
        var difference = decoded - pixels;
        var across = difference.diff(1, 3).abs().mean();
        var down = difference.diff(1, 2).abs().mean();
        return difference.abs().mean().Plus(difference.Squared().mean().Times(2)).Plus(across.Plus(down).Times(0.5));
    }
}

using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>What one forward pass learns from; every random quantity is given.</summary>
/// <param name="Latents">x₀, scaled latents, float32 [N, C, h, w].</param>
/// <param name="Noise">ε, standard normal noise of the same shape.</param>
/// <param name="Timesteps">t, int64 [N].</param>
/// <param name="Text">What the UNet is told, with the text encoder's graph where that trains.</param>
public sealed record DiffusionBatch(Tensor Latents, Tensor Noise, Tensor Timesteps, Conditioning Text)
{
    /// <summary>What x<sub>t</sub> is made with where that is not ε, see <see cref="TrainingNoise.Perturbed"/>. Default ε.</summary>
    public Tensor? InputNoise { get; init; }

    /// <summary>How much each image counts, float32 [N]. Default 1 for all.</summary>
    public Tensor? Weights { get; init; }
}

/// <summary>The loss of a latent diffusion model: how far it is from telling noise and picture apart.</summary>
/// <param name="unet">The denoising network, with an adapter.</param>
/// <param name="schedule">The noise schedule, which also tells what the network predicts.</param>
/// <param name="config">Loss and weights of timesteps; what noise there is and how much images count comes with the batches.</param>
/// <remarks>Source: Ho et al. 2020 (arXiv:2006.11239), algorithm 1; kohya-ss/sd-scripts, train_network.py, <c>process_batch</c>.</remarks>
public sealed class DenoisingLoss(UNet2DConditionModel unet, NoiseSchedule schedule, DiffusionTrainingConfig config)
{
    private ScalarType? _typeInMemory;

    /// <summary>
    /// The mean over the batch of w·w<sub>t</sub>·mean(ℓ(model(x<sub>t</sub>, t, c) − target)),
    /// the target being ε, v or x₀, and ℓ the square by default.
    /// </summary>
    /// <param name="batch">N images.</param>
    /// <returns>A scalar, float32, with its graph.</returns>
    public Tensor Of(DiffusionBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        using var scope = NewDisposeScope();
        var (clean, noise, t, text) = batch;
        var dtype = _typeInMemory ??= unet.parameters().First().dtype;
        var noisy = schedule.AddNoise(clean, batch.InputNoise ?? noise, t);
        var target = schedule.Target(clean, noise, t);
        var prediction = unet.call(noisy.to(dtype), t, text.To(dtype)).to(ScalarType.Float32);

        var threshold = config.LossType is LossType.Huber or LossType.SmoothL1
            ? DiffusionLoss.HuberThreshold(schedule, t, config.HuberSchedule, config.HuberC, config.HuberScale)
            : null;
        var perImage = DiffusionLoss.Elementwise(prediction, target, config.LossType, threshold).mean([1, 2, 3]);
        foreach (var weights in Weights(batch))
        {
            perImage *= weights;
        }

        return perImage.mean().MoveToOuterDisposeScope();
    }

    /// <summary>What the losses of a batch's images are multiplied by, each [N].</summary>
    private IEnumerable<Tensor> Weights(DiffusionBatch batch)
    {
        var t = batch.Timesteps;
        if (batch.Weights is { } weights)
        {
            yield return weights;
        }

        if (config.MinSnrGamma is { } gamma)
        {
            yield return LossWeighting.MinSnr(schedule, t, gamma);
        }

        if (config.ScaleVPredLossLikeNoisePred)
        {
            yield return LossWeighting.VelocityLikeNoise(schedule, t);
        }

        if (config.VPredLikeLoss is { } lambda)
        {
            yield return LossWeighting.NoiseLikeVelocity(schedule, t, lambda);
        }

        if (config.DebiasedEstimationLoss)
        {
            yield return LossWeighting.DebiasedEstimation(schedule, t);
        }
    }
}

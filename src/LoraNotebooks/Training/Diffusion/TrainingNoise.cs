using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>How the noise that a model learns to remove differs from plain white noise.</summary>
/// <remarks>Source: kohya-ss/sd-scripts, library/custom_train_functions.py.</remarks>
public static class TrainingNoise
{
    /// <summary>
    /// Offset noise (Guttenberg 2023, "Diffusion with Offset Noise"): ε + o·δ with one number δ for each image and channel, so that the model learns to
    /// move the mean of a whole picture, which white noise hardly touches; pictures get darker and lighter than otherwise.
    /// </summary>
    /// <param name="noise">ε, [N, C, h, w].</param>
    /// <param name="shift">δ, standard normal, [N, C, 1, 1].</param>
    /// <param name="latents">x₀, [N, C, h, w].</param>
    /// <param name="offset">o; 0.05 to 0.1 is usual.</param>
    /// <param name="adaptiveScale">k: with it o becomes max(0, o + k·|mean of the channel of x₀|). Default none.</param>
    /// <returns>[N, C, h, w].</returns>
    /// <remarks>Source: <c>apply_noise_offset</c>.</remarks>
    public static Tensor Offset(Tensor noise, Tensor shift, Tensor latents, double offset, double? adaptiveScale = null)
    {
        ArgumentNullException.ThrowIfNull(noise);
        ArgumentNullException.ThrowIfNull(shift);
        ArgumentNullException.ThrowIfNull(latents);
        using var scope = NewDisposeScope();
        var o = adaptiveScale is { } k
            ? latents.mean([2, 3], keepdim: true).abs().Times(k).Plus(offset).AtLeast(0)
            : Arithmetic.FullLike(shift, offset);
        return noise.Plus(o * shift).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Multi-resolution noise (Whitaker 2023, "Multi-Resolution Noise for Diffusion Model Training"): ε + Σᵢ dⁱ·(coarser noise, enlarged), each level 2 to 4
    /// times coarser than the last by chance, down to one number at most; the sum is divided by its standard deviation.
    /// </summary>
    /// <param name="noise">ε, [N, C, h, w].</param>
    /// <param name="generator">A CPU generator: of the levels and of their noise.</param>
    /// <param name="iterations">The number of levels at most; 6 to 10 is usual.</param>
    /// <param name="discount">d, how much weaker each level is; 0.1 to 0.3 is usual with few levels, 0.8 with many.</param>
    /// <returns>[N, C, h, w].</returns>
    /// <remarks>Source: <c>pyramid_noise_like</c>. As there, level 0 has the size of ε, and the standard deviation is that of the batch.</remarks>
    public static Tensor MultiResolution(Tensor noise, Generator generator, int iterations, double discount)
    {
        ArgumentNullException.ThrowIfNull(noise);
        ArgumentNullException.ThrowIfNull(generator);
        using var scope = NewDisposeScope();
        var (n, c, h, w) = (noise.size(0), noise.size(1), noise.size(2), noise.size(3));
        var sum = noise.clone();
        for (var i = 0; i < iterations; i++)
        {
            var factor = Math.Pow(2 + 2 * Uniform(generator), i);
            var (height, width) = (Math.Max(1, (long)(h / factor)), Math.Max(1, (long)(w / factor)));
            var coarse = randn([n, c, height, width], generator: generator).to(noise.device);
            sum.Plus_(nn.functional.interpolate(coarse, size: [h, w], mode: InterpolationMode.Bilinear, align_corners: false), times: Math.Pow(discount, i));
            if (height == 1 || width == 1)
            {
                break;
            }
        }

        return (sum / sum.std()).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Input perturbation (Ning et al. 2023, arXiv:2301.11706): x<sub>t</sub> is made with ε + γ·ξ, while the model is still asked for ε, so that
    /// it learns to answer inputs that are slightly wrong, as its own are in sampling.
    /// </summary>
    /// <param name="noise">ε.</param>
    /// <param name="perturbation">ξ, standard normal, of the same shape.</param>
    /// <param name="gamma">γ; 0.1 in the paper.</param>
    /// <returns>What x<sub>t</sub> is made with.</returns>
    /// <remarks>Source: library/train_util.py, <c>get_noise_noisy_latents_and_timesteps</c>.</remarks>
    public static Tensor Perturbed(Tensor noise, Tensor perturbation, double gamma)
    {
        ArgumentNullException.ThrowIfNull(noise);
        ArgumentNullException.ThrowIfNull(perturbation);
        using var scope = NewDisposeScope();
        return noise.Plus(perturbation, times: gamma).MoveToOuterDisposeScope();
    }

    /// <summary>One number from 0 to 1.</summary>
    internal static double Uniform(Generator generator)
    {
        using var scope = NewDisposeScope();
        return rand([1], ScalarType.Float64, CPU, generator: generator).item<double>();
    }
}

using LoraNotebooks.Diffusion;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>How the difference d between prediction and target counts, number by number.</summary>
public enum LossType
{
    /// <summary>d².</summary>
    L2,

    /// <summary>|d|.</summary>
    L1,

    /// <summary>2c·(√(d² + c²) − c): d² near zero, 2c·|d| far from it.</summary>
    Huber,

    /// <summary>2·(√(d² + c²) − c): d²/c near zero, 2·|d| far from it.</summary>
    SmoothL1,
}

/// <summary>How c of <see cref="LossType.Huber"/> and <see cref="LossType.SmoothL1"/> changes with the timestep.</summary>
public enum HuberSchedule
{
    /// <summary>From near 1 without noise down to c at full noise, as the noise level grows.</summary>
    Snr,

    /// <summary>From 1 at the first timestep down to c after the last, by an equal factor each.</summary>
    Exponential,

    /// <summary>c at every timestep.</summary>
    Constant,
}

/// <summary>The loss of a prediction, before timesteps are weighed.</summary>
/// <remarks>Source: kohya-ss/sd-scripts, library/train_util.py, <c>conditional_loss</c> and <c>get_huber_threshold_if_needed</c>.</remarks>
public static class DiffusionLoss
{
    /// <summary>
    /// The loss of each number. Huber's is smooth everywhere (the pseudo-Huber loss of Charbonnier et al. 1997) and forgives outliers, such as damaged
    /// parts of images (Khrapov et al. 2024, arXiv:2403.16728).
    /// </summary>
    /// <param name="prediction">What the model said, [N, …].</param>
    /// <param name="target">What it should have said, of the same shape.</param>
    /// <param name="type">How differences count.</param>
    /// <param name="threshold">
    /// c of each image, [N], for <see cref="LossType.Huber"/> and <see cref="LossType.SmoothL1"/>; see <see cref="HuberThreshold"/>.
    /// </param>
    /// <returns>[N, …], with its graph.</returns>
    /// <exception cref="ArgumentException">The type needs c, but there is none.</exception>
    public static Tensor Elementwise(Tensor prediction, Tensor target, LossType type, Tensor? threshold = null)
    {
        ArgumentNullException.ThrowIfNull(prediction);
        ArgumentNullException.ThrowIfNull(target);
        using var scope = NewDisposeScope();
        var d = prediction - target;
        return (type switch
        {
            LossType.L2 => d.Squared(),
            LossType.L1 => d.abs(),
            LossType.Huber => C().Times(2) * (Root() - C()),
            LossType.SmoothL1 => (Root() - C()).Times(2),
            _ => throw new ArgumentException($"Got the loss type {type}, expected one of {string.Join(", ", Enum.GetNames<LossType>())}.", nameof(type)),
        }).MoveToOuterDisposeScope();

        Tensor Root() => d.Squared().Plus(C().Squared()).sqrt();

        Tensor C() => threshold?.reshape([-1, .. Enumerable.Repeat(1L, (int)d.dim() - 1)])
            ?? throw new ArgumentException($"The loss {type} needs a threshold for each image; compute it with {nameof(HuberThreshold)}.", nameof(threshold));
    }

    /// <summary>
    /// c<sub>t</sub> (scheduled as in Khrapov et al. 2024). By noise level: (1 − c)/(1 + σ<sub>t</sub>)² + c with σ<sub>t</sub> = 1/√SNR<sub>t</sub>;
    /// exponential: s·c<sup>t/T</sup>; constant: s·c.
    /// </summary>
    /// <param name="schedule">The noise schedule.</param>
    /// <param name="timesteps">t, [N] whole numbers.</param>
    /// <param name="kind">How c changes with t.</param>
    /// <param name="c">c, 0.1 upstream.</param>
    /// <param name="scale">s, 1 upstream; without meaning for <see cref="HuberSchedule.Snr"/>.</param>
    /// <returns>[N], float32.</returns>
    public static Tensor HuberThreshold(NoiseSchedule schedule, Tensor timesteps, HuberSchedule kind, double c, double scale = 1)
    {
        ArgumentNullException.ThrowIfNull(schedule);
        ArgumentNullException.ThrowIfNull(timesteps);
        using var scope = NewDisposeScope();
        return (kind switch
        {
            HuberSchedule.Snr => (1 - c) / (Term)schedule.Snr(timesteps).rsqrt().Plus(1).Squared() + c,
            HuberSchedule.Exponential => timesteps.to(ScalarType.Float32).Times(Math.Log(c) / schedule.NumTrainTimesteps).exp().Times(scale),
            HuberSchedule.Constant => Arithmetic.Full(timesteps.shape, scale * c, ScalarType.Float32, timesteps.device),
            _ => throw new ArgumentException(
                $"Got the Huber schedule {kind}, expected one of {string.Join(", ", Enum.GetNames<HuberSchedule>())}.",
                nameof(kind)),
        }).Tensor.MoveToOuterDisposeScope();
    }
}

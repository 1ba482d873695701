using LoraNotebooks.Diffusion;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>How much each timestep counts in the loss.</summary>
/// <remarks>Source: kohya-ss/sd-scripts, library/custom_train_functions.py.</remarks>
public static class LossWeighting
{
    /// <summary>What upstream limits the signal-to-noise ratio to where it would divide by it or by its root: without noise it is infinite.</summary>
    private const double LargestSnr = 1000;

    /// <summary>
    /// Min-SNR-γ (Hang et al. 2023, arXiv:2303.09556, equation 4): the easy timesteps with little noise count no more than γ allows.
    /// min(SNR<sub>t</sub>, γ)/SNR<sub>t</sub> for a model that predicts ε,
    /// min(SNR<sub>t</sub>, γ)/(SNR<sub>t</sub> + 1) for v, min(SNR<sub>t</sub>, γ) for x₀.
    /// </summary>
    /// <param name="schedule">The noise schedule, which also tells what the model predicts.</param>
    /// <param name="timesteps">t, [N] whole numbers.</param>
    /// <param name="gamma">γ, 5 in the paper.</param>
    /// <returns>[N], float32.</returns>
    /// <remarks>Source: <c>apply_snr_weight</c>.</remarks>
    public static Tensor MinSnr(NoiseSchedule schedule, Tensor timesteps, double gamma)
    {
        ArgumentNullException.ThrowIfNull(schedule);
        ArgumentNullException.ThrowIfNull(timesteps);
        using var scope = NewDisposeScope();
        var snr = schedule.Snr(timesteps);
        var clipped = snr.AtMost(gamma);
        return (schedule.PredictionType switch
        {
            PredictionType.Epsilon => clipped / snr,
            PredictionType.VPrediction => clipped / snr.Plus(1),
            _ => clipped,
        }).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Debiased estimation (Yu et al. 2023, arXiv:2310.08442): the noisy timesteps, where a small error of ε is a large one of x₀, count more.
    /// 1/√SNR<sub>t</sub> for ε; upstream takes 1/(SNR<sub>t</sub> + 1) for v; √SNR<sub>t</sub> for x₀, which is the weight of ε times the SNR
    /// that lies between both errors. The SNR is limited to 1000.
    /// </summary>
    /// <inheritdoc cref="VelocityLikeNoise"/>
    /// <remarks>Source: <c>apply_debiased_estimation</c>.</remarks>
    public static Tensor DebiasedEstimation(NoiseSchedule schedule, Tensor timesteps)
    {
        ArgumentNullException.ThrowIfNull(schedule);
        using var scope = NewDisposeScope();
        var snr = LimitedSnr(schedule, timesteps);
        return (schedule.PredictionType switch
        {
            PredictionType.Epsilon => snr.sqrt().reciprocal(),
            PredictionType.VPrediction => snr.Plus(1).reciprocal(),
            _ => snr.sqrt(),
        }).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// SNR<sub>t</sub>/(SNR<sub>t</sub> + 1), which is ᾱ<sub>t</sub>: the loss of a model that predicts v becomes that of the ε which its answer implies
    /// (Salimans and Ho 2022, arXiv:2202.00512, section 4). The SNR is limited to 1000.
    /// </summary>
    /// <param name="schedule">The noise schedule, which also tells what the model predicts.</param>
    /// <param name="timesteps">t, [N] whole numbers.</param>
    /// <returns>[N], float32.</returns>
    /// <remarks>Source: <c>scale_v_prediction_loss_like_noise_prediction</c>.</remarks>
    public static Tensor VelocityLikeNoise(NoiseSchedule schedule, Tensor timesteps)
    {
        ArgumentNullException.ThrowIfNull(schedule);
        using var scope = NewDisposeScope();
        var snr = LimitedSnr(schedule, timesteps);
        return (snr / snr.Plus(1)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// 1 + λ·(SNR<sub>t</sub> + 1)/SNR<sub>t</sub>: to the loss of a model that predicts ε, λ times the loss of the v which its answer implies is added.
    /// The SNR is limited to 1000.
    /// </summary>
    /// <param name="schedule">The noise schedule.</param>
    /// <param name="timesteps">t, [N] whole numbers.</param>
    /// <param name="lambda">λ.</param>
    /// <returns>[N], float32.</returns>
    /// <remarks>Source: <c>add_v_prediction_like_loss</c>.</remarks>
    public static Tensor NoiseLikeVelocity(NoiseSchedule schedule, Tensor timesteps, double lambda)
    {
        using var scope = NewDisposeScope();
        return (1 + lambda / (Term)VelocityLikeNoise(schedule, timesteps)).Tensor.MoveToOuterDisposeScope();
    }

    private static Tensor LimitedSnr(NoiseSchedule schedule, Tensor timesteps)
    {
        ArgumentNullException.ThrowIfNull(timesteps);
        using var scope = NewDisposeScope();
        return schedule.Snr(timesteps).AtMost(LargestSnr).MoveToOuterDisposeScope();
    }
}

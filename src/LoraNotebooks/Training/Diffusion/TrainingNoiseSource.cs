using LoraNotebooks.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Diffusion;

/// <summary>Noise and timesteps of a run's batches, as the settings shape them. All is drawn on the CPU, so that it is the same for every device.</summary>
/// <remarks>Source: kohya-ss/sd-scripts, library/train_util.py, <c>get_noise_noisy_latents_and_timesteps</c>.</remarks>
internal sealed class TrainingNoiseSource(DiffusionTrainingConfig config, NoiseSchedule schedule, TrainingSeeds seeds)
{
    /// <summary>What a batch needs.</summary>
    /// <param name="latents">x₀, [N, C, h, w].</param>
    /// <param name="number">The batch's number in the whole run, which the random numbers hang on.</param>
    /// <returns>ε; what x<sub>t</sub> is made with, if that is not ε; t, int64 [N].</returns>
    public (Tensor Noise, Tensor? InputNoise, Tensor Timesteps) Draw(Tensor latents, long number)
    {
        using var scope = NewDisposeScope();
        using var generator = seeds.Generator(RandomUse.Noise, number);
        var noise = randn(latents.shape, generator: generator).to(latents.device);
        var timesteps = randint(
            config.MinTimestep,
            config.MaxTimestep ?? schedule.NumTrainTimesteps,
            [latents.size(0)],
            ScalarType.Int64,
            generator: generator).to(latents.device);
        noise = MultiResolution(Offset(noise, latents, number), number);
        return (noise.MoveToOuterDisposeScope(), Perturbed(noise, number)?.MoveToOuterDisposeScope(), timesteps.MoveToOuterDisposeScope());
    }

    private Tensor Offset(Tensor noise, Tensor latents, long number)
    {
        if (config.NoiseOffset is not { } offset)
        {
            return noise;
        }

        using var generator = seeds.Generator(RandomUse.NoiseOffset, number);
        var shift = randn([latents.size(0), latents.size(1), 1, 1], generator: generator).to(latents.device);
        var strength = config.NoiseOffsetRandomStrength ? TrainingNoise.Uniform(generator) : 1;
        return TrainingNoise.Offset(noise, shift, latents, offset * strength, config.AdaptiveNoiseScale);
    }

    private Tensor MultiResolution(Tensor noise, long number)
    {
        if (config.MultiresNoiseIterations is not { } iterations)
        {
            return noise;
        }

        using var generator = seeds.Generator(RandomUse.MultiresNoise, number);
        return TrainingNoise.MultiResolution(noise, generator, iterations, config.MultiresNoiseDiscount);
    }

    private Tensor? Perturbed(Tensor noise, long number)
    {
        if (config.IpNoiseGamma is not { } gamma)
        {
            return null;
        }

        using var generator = seeds.Generator(RandomUse.InputPerturbation, number);
        var perturbation = randn(noise.shape, generator: generator).to(noise.device);
        return TrainingNoise.Perturbed(noise, perturbation, gamma * (config.IpNoiseGammaRandomStrength ? TrainingNoise.Uniform(generator) : 1));
    }
}

namespace LoraNotebooks.Training.Pretraining;

/// <summary>How the embedded base model is trained; see <see cref="BasePretraining"/>.</summary>
public sealed record PretrainingConfig
{
    /// <summary>The folder with the portraits: <c>metadata.jsonl</c> and the images that it names.</summary>
    public required string Corpus { get; init; }

    /// <summary>The folder that receives the model in diffusers layout.</summary>
    public required string Output { get; init; }

    /// <summary>The folder for resumable state; by default <c>state</c> beside the output.</summary>
    public string? State { get; init; }

    /// <summary>Steps of the autoencoder's training. Default 9,000.</summary>
    public int AutoencoderSteps { get; init; } = 9_000;

    /// <summary>Images per step of the autoencoder's training. Default 12.</summary>
    public int AutoencoderBatch { get; init; } = 12;

    /// <summary>The autoencoder's highest learning rate. Default 1.5e-3, decayed by a cosine.</summary>
    public double AutoencoderLearningRate { get; init; } = 1.5e-3;

    /// <summary>Weight of the Kullback-Leibler term, a mean over latent elements. Default 2e-4.</summary>
    public double KlWeight { get; init; } = 2e-4;

    /// <summary>Steps in which the decoder alone goes on with the encoder frozen. Default 3,000.</summary>
    public int DecoderSteps { get; init; } = 3_000;

    /// <summary>Steps of the UNet's and text encoder's training. Default 6,000.</summary>
    public int DenoiserSteps { get; init; } = 6_000;

    /// <summary>Images per step of the UNet's training. Default 32.</summary>
    public int DenoiserBatch { get; init; } = 32;

    /// <summary>The UNet's highest learning rate. Default 8e-4, decayed by a cosine.</summary>
    public double DenoiserLearningRate { get; init; } = 8e-4;

    /// <summary>Decay of the moving average of the UNet's weights. Default 0.999.</summary>
    public double AverageDecay { get; init; } = 0.999;

    /// <summary>Trains in bfloat16 with float32 master weights. Default true: 1.5 to 2 times faster on a CPU with AVX512-BF16.</summary>
    public bool BFloat16 { get; init; } = true;

    /// <summary>The seed of every random choice. Default 1.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>The state is saved every so many steps. Default 250.</summary>
    public int SaveEvery { get; init; } = 250;

    internal string StateFolder => State ?? Path.Combine(Path.GetDirectoryName(Path.GetFullPath(Output))!, Path.GetFileName(Output) + "-state");

    /// <summary>Every fault of this configuration; empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Require(
            File.Exists(Path.Combine(Corpus, "metadata.jsonl")),
            $"Corpus: {Corpus} has no metadata.jsonl; make the portraits first (datasets/README.md)");
        faults.Require(AutoencoderSteps > 0, $"AutoencoderSteps: got {AutoencoderSteps}, expected 1 or more");
        faults.Require(AutoencoderBatch > 0, $"AutoencoderBatch: got {AutoencoderBatch}, expected 1 or more");
        faults.Require(DecoderSteps >= 0, $"DecoderSteps: got {DecoderSteps}, expected 0 or more");
        faults.Require(DenoiserSteps > 0, $"DenoiserSteps: got {DenoiserSteps}, expected 1 or more");
        faults.Require(DenoiserBatch > 0, $"DenoiserBatch: got {DenoiserBatch}, expected 1 or more");
        faults.Require(AutoencoderLearningRate is > 0 and < 1, $"AutoencoderLearningRate: got {AutoencoderLearningRate}, expected between 0 and 1");
        faults.Require(DenoiserLearningRate is > 0 and < 1, $"DenoiserLearningRate: got {DenoiserLearningRate}, expected between 0 and 1");
        faults.Require(AverageDecay is >= 0 and < 1, $"AverageDecay: got {AverageDecay}, expected 0 to below 1");
        faults.Require(KlWeight >= 0, $"KlWeight: got {KlWeight}, expected 0 or more");
        faults.Require(SaveEvery > 0, $"SaveEvery: got {SaveEvery}, expected 1 or more");
        return faults;
    }

    /// <summary>Throws when the configuration has faults.</summary>
    /// <exception cref="ArgumentException">Lists every fault.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());
}

/// <summary>One reported step of the base model's training: numbers only.</summary>
/// <param name="Stage">autoencoder, decoder or denoiser.</param>
/// <param name="Step">The step just taken, from 1.</param>
/// <param name="Steps">The stage's steps.</param>
/// <param name="Loss">The mean loss since the last report.</param>
/// <param name="LearningRate">The learning rate of this step.</param>
/// <param name="ImagesPerSecond">Speed since the last report.</param>
public sealed record PretrainingStep(string Stage, long Step, long Steps, double Loss, double LearningRate, double ImagesPerSecond);

using System.Text.Json.Nodes;
using LoraNotebooks.Data;

namespace LoraNotebooks.Tests.Training;

public sealed class KohyaTrainingFactsTests
{
    [Theory]
    [InlineData(false, 3, "False")]
    [InlineData(true, 6, "True")]
    public void Of_MirroredSet_CountsPicturesOnceAndShowsThemTwiceAsOften(bool mirrored, int showings, string flips)
    {
        string[] names = ["a", "b", "c", "d"];
        var images = names.SelectMany(name => (PreparedImage[])
        [
            Image(name, mirrored: false),
            .. (PreparedImage[])(mirrored ? [Image(name, mirrored: true)] : []),
        ]);
        var dataset = new PreparedDataset(images);
        var config = new DiffusionTrainingConfig { Name = "set", Epochs = 2, BatchSize = 5 };

        var facts = KohyaTrainingFacts.Of(config, dataset, new(config.PlanFor(dataset), 2, DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch));

        var folder = Assert.Single(JsonNode.Parse(facts["ss_dataset_dirs"])!.AsObject());
        Assert.Equal($"{showings}_set", folder.Key);
        Assert.Equal((showings, 4), ((int)folder.Value!["n_repeats"]!, (int)folder.Value["img_count"]!));
        Assert.Equal($"{showings * 4}", facts["ss_num_train_images"]);
        Assert.Equal(flips, facts["ss_flip_aug"]);
        Assert.Equal("""{"set":{"tag":4,"a":1,"b":1,"c":1,"d":1}}""", facts["ss_tag_frequency"]);
    }

    /// <summary>What a file tells of a run with nothing but the defaults, on two pictures, after 15 of 20 steps.</summary>
    private static readonly Dictionary<string, string> OfDefaults = new()
    {
        ["ss_output_name"] = "lora",
        ["ss_training_started_at"] = "1234.567",
        ["ss_seed"] = "0",
        ["ss_learning_rate"] = "0.0001",
        ["ss_unet_lr"] = "0.0001",
        ["ss_text_encoder_lr"] = "None",
        ["ss_optimizer"] = "LoraNotebooks.Training.AdamWOptimizer(weight_decay=0.01)",
        ["ss_lr_scheduler"] = "cosine",
        ["ss_lr_warmup_steps"] = "0",
        ["ss_max_grad_norm"] = "1",
        ["ss_min_snr_gamma"] = "None",
        ["ss_debiased_estimation"] = "False",
        ["ss_loss_type"] = "l2",
        ["ss_huber_schedule"] = "snr",
        ["ss_huber_c"] = "0.1",
        ["ss_huber_scale"] = "1",
        ["ss_zero_terminal_snr"] = "False",
        ["ss_noise_offset"] = "None",
        ["ss_noise_offset_random_strength"] = "False",
        ["ss_adaptive_noise_scale"] = "None",
        ["ss_multires_noise_iterations"] = "None",
        ["ss_multires_noise_discount"] = "0.3",
        ["ss_ip_noise_gamma"] = "None",
        ["ss_ip_noise_gamma_random_strength"] = "False",
        ["ss_scale_weight_norms"] = "None",
        ["ss_prior_loss_weight"] = "1",
        ["ss_num_train_images"] = "2",
        ["ss_num_reg_images"] = "0",
        ["ss_num_batches_per_epoch"] = "2",
        ["ss_num_epochs"] = "10",
        ["ss_epoch"] = "7",
        ["ss_steps"] = "15",
        ["ss_max_train_steps"] = "20",
        ["ss_batch_size_per_device"] = "1",
        ["ss_total_batch_size"] = "1",
        ["ss_gradient_accumulation_steps"] = "1",
        ["ss_gradient_checkpointing"] = "False",
        ["ss_mixed_precision"] = "no",
        ["ss_clip_skip"] = "1",
        ["ss_max_token_length"] = "None",
        ["ss_resolution"] = "(8, 16)",
        ["ss_cache_latents"] = "True",
        ["ss_enable_bucket"] = "False",
        ["ss_flip_aug"] = "False",
        ["ss_random_crop"] = "False",
        ["ss_shuffle_caption"] = "False",
        ["ss_keep_tokens"] = "0",
        ["ss_caption_dropout_rate"] = "0",
        ["ss_caption_tag_dropout_rate"] = "0",
        ["ss_dataset_dirs"] = """{"1_lora":{"n_repeats":1,"img_count":2}}""",
        ["ss_reg_dataset_dirs"] = "{}",
        ["ss_tag_frequency"] = """{"lora":{"red":2,"blue":1}}""",
    };

    /// <summary>The facts that a setting decides, beside those of the defaults; with none, the setting is told by the record alone.</summary>
    private static readonly Dictionary<string, (string Fact, string Value)[]> OfSettings = new()
    {
        ["Name"] = [
            ("ss_output_name", "changed"),
            ("ss_dataset_dirs", """{"1_changed":{"n_repeats":1,"img_count":2}}"""),
            ("ss_tag_frequency", """{"changed":{"red":2,"blue":1}}"""),
        ],
        ["Epochs"] = [("ss_num_epochs", "3"), ("ss_max_train_steps", "6")],
        ["BatchSize"] = [
            ("ss_batch_size_per_device", "3"),
            ("ss_total_batch_size", "3"),
            ("ss_num_batches_per_epoch", "1"),
            ("ss_max_train_steps", "10"),
            ("ss_epoch", "15"),
        ],
        ["GradientAccumulation"] = [("ss_gradient_accumulation_steps", "3"), ("ss_max_train_steps", "10"), ("ss_epoch", "15")],
        ["UNetLearningRate"] = [("ss_unet_lr", "0.25"), ("ss_learning_rate", "0.25")],
        ["TextEncoderLearningRate"] = [("ss_text_encoder_lr", "0.25")],
        ["Optimizer.Beta1"] = [("ss_optimizer", "LoraNotebooks.Training.AdamWOptimizer(weight_decay=0.01,beta1=0.25)")],
        ["Optimizer.Beta2"] = [("ss_optimizer", "LoraNotebooks.Training.AdamWOptimizer(weight_decay=0.01,beta2=0.25)")],
        ["Optimizer.Epsilon"] = [("ss_optimizer", "LoraNotebooks.Training.AdamWOptimizer(weight_decay=0.01,epsilon=0.25)")],
        ["WeightDecay"] = [("ss_optimizer", "LoraNotebooks.Training.AdamWOptimizer(weight_decay=0.25)")],
        ["Schedule.Kind"] = [("ss_lr_scheduler", "constant")],
        ["Schedule.Warmup"] = [("ss_lr_warmup_steps", "5")],
        ["MaxGradientNorm"] = [("ss_max_grad_norm", "0.25")],
        ["LoraPlusLrRatio"] = [("ss_network_args", """{"loraplus_lr_ratio":"0.25"}""")],
        ["ScaleWeightNorms"] = [("ss_scale_weight_norms", "0.25")],
        ["Seed"] = [("ss_seed", "9223372036854775807")],
        ["ClipSkip"] = [("ss_clip_skip", "3")],
        ["Reading.MaxTokenLength"] = [("ss_max_token_length", "3")],
        ["Precision"] = [("ss_mixed_precision", "bf16")],
        ["Captions.Shuffle"] = [("ss_shuffle_caption", "True")],
        ["Captions.KeepTokens"] = [("ss_keep_tokens", "3")],
        ["Captions.CaptionDropout"] = [("ss_caption_dropout_rate", "0.25")],
        ["Captions.TagDropout"] = [("ss_caption_tag_dropout_rate", "0.25")],
        ["LossType"] = [("ss_loss_type", "l1")],
        ["HuberSchedule"] = [("ss_huber_schedule", "exponential")],
        ["HuberC"] = [("ss_huber_c", "0.25")],
        ["HuberScale"] = [("ss_huber_scale", "0.25")],
        ["MinSnrGamma"] = [("ss_min_snr_gamma", "0.25")],
        ["DebiasedEstimationLoss"] = [("ss_debiased_estimation", "True")],
        ["ZeroTerminalSnr"] = [("ss_zero_terminal_snr", "True")],
        ["PriorLossWeight"] = [("ss_prior_loss_weight", "0.25")],
        ["NoiseOffset"] = [("ss_noise_offset", "0.25")],
        ["AdaptiveNoiseScale"] = [("ss_adaptive_noise_scale", "0.25")],
        ["NoiseOffsetRandomStrength"] = [("ss_noise_offset_random_strength", "True")],
        ["MultiresNoiseIterations"] = [("ss_multires_noise_iterations", "3")],
        ["MultiresNoiseDiscount"] = [("ss_multires_noise_discount", "0.25")],
        ["IpNoiseGamma"] = [("ss_ip_noise_gamma", "0.25")],
        ["IpNoiseGammaRandomStrength"] = [("ss_ip_noise_gamma_random_strength", "True")],
        ["ScaleVPredLossLikeNoisePred"] = [],
        ["VPredLikeLoss"] = [],
    };

    /// <summary>Settings of which kohya's files have no fact: where and what is written besides, and what the adapters' own facts tell.</summary>
    private static readonly string[] Untold =
    [
        "OutputFolder", "SaveEveryEpochs", "SampleEveryEpochs", "SamplePrompts", "UNetLora", "TextEncoderLora", "SampleLatents", "Reading.Weighting",
        "MinTimestep", "MaxTimestep",
        "Schedule.Cycles", "Schedule.Power", "Schedule.FinalRate", "Schedule.FinalRatio", "Schedule.Decay", "Schedule.Timescale", "Schedule.Pieces",
    ];

    [Fact]
    public void Of_Defaults_TellsEachFactAndNoOther()
    {
        var facts = Facts(new DiffusionTrainingConfig(), Set());

        Assert.Equal("2345.678", facts["ss_training_finished_at"]);
        facts.Remove("ss_training_finished_at");
        Assert.Equal(OfDefaults, facts);
    }

    [Theory]
    [MemberData(nameof(SettingsWalk.Rows), MemberType = typeof(SettingsWalk))]
    public void Of_OneSettingChanged_TellsItInItsFactsAndInNoOther(string path)
    {
        var expected = OfSettings.GetValueOrDefault(path) ?? (
            Untold.Contains(path) || path.StartsWith(
                "SampleOptions.",
                StringComparison.Ordinal) ? [] : throw new NotSupportedException($"Say which fact tells {path}."));
        var before = Facts(SettingsWalk.Base, Set());

        var facts = Facts(SettingsWalk.Changed(path), Set());

        Assert.Equal(
            expected.OrderBy(pair => pair.Fact),
            facts.Where(
                pair => pair.Key != "ss_training_finished_at" && before.GetValueOrDefault(pair.Key) != pair.Value).Select(
                    pair => (pair.Key, pair.Value)).OrderBy(pair => pair.Key));
    }

    [Fact]
    public void Of_TextEncoderAlone_TellsItsRateAsTheRunS()
    {
        var facts = Facts(new DiffusionTrainingConfig { UNetLearningRate = 0, TextEncoderLearningRate = 5e-5 }, Set());

        Assert.Equal(("5E-05", "None", "5E-05"), (facts["ss_learning_rate"], facts["ss_unet_lr"], facts["ss_text_encoder_lr"]));
    }

    [Fact]
    public void Of_TextEncoderAtARateOfZero_TellsThatItStays() =>
        Assert.Equal("None", Facts(new DiffusionTrainingConfig { TextEncoderLearningRate = 0 }, Set())["ss_text_encoder_lr"]);

    [Fact]
    public void Of_RegularizationAndRepeats_TellsFoldersOfBothKinds()
    {
        var dataset = new PreparedDataset([Image("a", mirrored: false), Image("b", mirrored: false) with { Repeats = 1 }, Image("c", mirrored: false)])
            .WithRegularization(new PreparedDataset([Image("r", mirrored: false)]));

        var facts = Facts(new DiffusionTrainingConfig(), dataset);

        Assert.Equal("""{"3_lora":{"n_repeats":3,"img_count":2},"1_lora":{"n_repeats":1,"img_count":1}}""", facts["ss_dataset_dirs"]);
        Assert.Equal("""{"7_regularization":{"n_repeats":7,"img_count":1}}""", facts["ss_reg_dataset_dirs"]);
        Assert.Equal(("7", "7", "14"), (facts["ss_num_train_images"], facts["ss_num_reg_images"], facts["ss_num_batches_per_epoch"]));
    }

    [Fact]
    public void Of_MirroredCopyWithoutItsPicture_CountsItAsOne()
    {
        var facts = Facts(
            new DiffusionTrainingConfig(),
            new PreparedDataset([Image("a", mirrored: true), Image("b", mirrored: false), Image("b", mirrored: true)]));

        Assert.Equal("""{"6_lora":{"n_repeats":6,"img_count":1},"3_lora":{"n_repeats":3,"img_count":1}}""", facts["ss_dataset_dirs"]);
        Assert.Equal("""{"lora":{"tag":2,"a":1,"b":1}}""", facts["ss_tag_frequency"]);
    }

    private static Dictionary<string, string> Facts(DiffusionTrainingConfig config, PreparedDataset dataset) =>
        KohyaTrainingFacts.Of(
            config,
            dataset,
            new(config.PlanFor(dataset), 15, DateTimeOffset.FromUnixTimeMilliseconds(1234567), DateTimeOffset.FromUnixTimeMilliseconds(2345678)));

    private static PreparedDataset Set() => new([Picture("a", "red, blue"), Picture("b", "red")]);

    private static PreparedImage Picture(string name, string caption) => new(name, new RgbImage(8, 16, new byte[8 * 16 * 3]), caption, $"{name}.png");

    private static PreparedImage Image(string name, bool mirrored) =>
        new(mirrored ? $"{name}-mirrored" : name, new RgbImage(8, 8, new byte[192]), $"tag, {name}", $"{name}.png", mirrored, Repeats: 3);
}

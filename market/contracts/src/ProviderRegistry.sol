// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IParams} from "./interfaces/IParams.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";

/// @title Who sells: provider records, stake and bonds. The manual is IProviderRegistry.
contract ProviderRegistry is IProviderRegistry, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    uint40 private constant UNBONDING = 7 days;
    uint40 private constant PAYOUT_DELAY = 24 hours;
    uint40 private constant MOST_OVERLAP = 7 days;
    uint256 private constant MAX_URI = 256;
    /// Of the 96 bits beside an operator, the highest says that the provider is active, so that a bid reads one slot; the
    /// others are capabilities.
    uint96 private constant ACTIVE = 1 << 95;

    uint8 private constant FIRST_PROVIDER_REASON = 100;
    uint8 private constant RECLAIM_ELAPSED = 104;
    uint8 private constant LAST_PROVIDER_REASON = 149;

    /// Slot by slot: money; the key that bids, and what it may bid on; payout with the time of a change, and registration;
    /// the certificate (registering writes these four); the change of payout, until when the certificate before counts, and
    /// when the gateway's address was said anew; that certificate; attributes; what leases made of the name.
    struct Record {
        uint88 stake;
        uint88 locked;
        uint40 unbondAt;
        uint32 active;
        ProviderState state;
        address operator;
        uint96 bits;
        address payout;
        uint40 payoutChangeAt;
        uint40 firstSeen;
        bytes32 spkiHash;
        address pendingPayout;
        uint40 oldSpkiUntil;
        uint40 gatewayAt;
        bytes32 oldSpkiHash;
        bytes32 attrsHash;
        Reputation reputation;
    }

    IERC20 private immutable _token;
    IParams private immutable _params;
    /// @inheritdoc IProviderRegistry
    address public immutable market;
    mapping(address owner => Record) private _records;

    modifier onlyMarket() {
        require(msg.sender == market, NotAllowed());
        _;
    }

    constructor(IERC20 token_, IParams params_) {
        _token = token_;
        _params = params_;
        market = msg.sender;
    }

    /// @inheritdoc IProviderRegistry
    function register(address operator, address payout, string calldata uri, bytes32 spkiHash, uint256 stake)
        external
        nonReentrant
    {
        Record storage r = _records[msg.sender];
        require(r.state == ProviderState.None, IdTaken());
        require(operator != address(0) && payout != address(0), ZeroAddress());
        _requireUri(uri);
        uint256 need = _params.values().minStake;
        require(stake >= need, StakeTooLow(stake, need));

        r.stake = stake.toUint88();
        r.state = ProviderState.Active;
        r.operator = operator;
        r.bits = ACTIVE;
        r.payout = payout;
        r.firstSeen = _now();
        r.spkiHash = spkiHash;
        emit ProviderRegistered(msg.sender, operator, uri, spkiHash);
        emit PayoutChanged(msg.sender, payout, _now());
        emit StakeChanged(msg.sender, r.stake, 0, 0);
        _pull(stake);
    }

    /// @inheritdoc IProviderRegistry
    function setOperator(address operator) external {
        Record storage r = _own();
        require(operator != address(0), ZeroAddress());
        r.operator = operator;
        emit OperatorChanged(msg.sender, operator);
    }

    /// @inheritdoc IProviderRegistry
    function setPayout(address payout) external {
        Record storage r = _own();
        require(payout != address(0), ZeroAddress());
        r.payout = _payoutNow(r);
        r.pendingPayout = payout;
        r.payoutChangeAt = _now() + PAYOUT_DELAY;
        emit PayoutChanged(msg.sender, payout, r.payoutChangeAt);
    }

    /// @inheritdoc IProviderRegistry
    function setGateway(string calldata uri, bytes32 spkiHash) external {
        Record storage r = _own();
        _requireUri(uri);
        if (spkiHash != r.spkiHash) {
            r.spkiHash = spkiHash;
            r.oldSpkiUntil = 0;
        }
        r.gatewayAt = _now();
        emit GatewayChanged(msg.sender, uri, spkiHash);
    }

    /// @inheritdoc IProviderRegistry
    function rotateCert(bytes32 spkiHash, uint40 oldUntil) external {
        Record storage r = _own();
        require(oldUntil <= _now() + MOST_OVERLAP, DurationOutOfBounds());
        bytes32 oldSpkiHash = r.spkiHash;
        r.oldSpkiHash = oldSpkiHash;
        r.oldSpkiUntil = oldUntil;
        r.spkiHash = spkiHash;
        emit CertRotated(msg.sender, spkiHash, oldSpkiHash, oldUntil);
    }

    /// @inheritdoc IProviderRegistry
    function setAttributes(bytes32 attrsHash) external {
        _own().attrsHash = attrsHash;
        emit AttributesChanged(msg.sender, attrsHash);
    }

    /// @inheritdoc IProviderRegistry
    function setCapabilities(address owner, uint96 bits) external {
        Record storage r = _records[owner];
        require(r.state != ProviderState.None && isKeyOf(owner, msg.sender), NotAllowed());
        require(bits & ACTIVE == 0, UnknownCapabilities(bits & ACTIVE));
        r.bits = (r.bits & ACTIVE) | bits;
        emit CapabilitiesChanged(owner, bits);
    }

    /// @inheritdoc IProviderRegistry
    function addStake(address owner, uint256 amount) external nonReentrant {
        Record storage r = _records[owner];
        require(r.state == ProviderState.Active, ProviderInactive());
        r.stake += amount.toUint88();
        emit StakeChanged(owner, r.stake, r.locked, r.unbondAt);
        _pull(amount);
    }

    /// @inheritdoc IProviderRegistry
    function requestUnstake() external {
        Record storage r = _own();
        _unbond(r);
    }

    /// @inheritdoc IProviderRegistry
    function unstake(uint256 amount) external nonReentrant {
        Record storage r = _own();
        require(r.unbondAt != 0 && block.timestamp >= r.unbondAt, StillBonded(r.unbondAt));
        bool retired = r.state == ProviderState.Retired;
        uint256 kept = retired ? 0 : _params.values().minStake;
        if (kept < r.locked) kept = r.locked;
        uint256 free = r.stake > kept ? r.stake - kept : 0;
        require(amount <= free, StakeTooLow(free, amount));

        r.stake -= amount.toUint88();
        // Who is retired has waited: bonds that come free later need no new request.
        if (!retired) r.unbondAt = 0;
        emit StakeChanged(msg.sender, r.stake, r.locked, r.unbondAt);
        _token.safeTransfer(_payoutNow(r), amount);
    }

    /// @inheritdoc IProviderRegistry
    function retire() external {
        Record storage r = _own();
        require(r.state == ProviderState.Active, ProviderInactive());
        r.state = ProviderState.Retired;
        r.bits &= ~ACTIVE;
        emit ProviderRetired(msg.sender);
        // Anew, whatever was requested before: nobody leaves at once because of a request that was kept in store.
        _unbond(r);
    }

    /// @inheritdoc IProviderRegistry
    function lockBond(address owner, uint256 amount) external onlyMarket {
        _lock(_records[owner], amount);
    }

    /// @inheritdoc IProviderRegistry
    function unlockBond(address owner, uint256 amount) external onlyMarket {
        _records[owner].locked -= amount.toUint88();
    }

    /// @inheritdoc IProviderRegistry
    function beginLease(address owner, uint256 amount) external onlyMarket {
        Record storage r = _records[owner];
        if (amount != 0) _lock(r, amount);
        r.active += 1;
    }

    /// @inheritdoc IProviderRegistry
    function endLease(
        address owner,
        address key,
        bytes32 orderId,
        uint256 bond,
        uint256 penalty,
        uint8 reason,
        uint40 servedSecs,
        uint96 fees
    ) external onlyMarket {
        require(isKeyOf(owner, key), NotOperator());
        require(penalty <= bond, StakeTooLow(bond, penalty));
        Record storage r = _records[owner];
        r.locked -= bond.toUint88();
        r.active -= 1;
        _remember(r, penalty != 0, reason, servedSecs, fees);
        if (penalty == 0) return;
        r.stake -= penalty.toUint88();
        emit Slashed(owner, orderId, penalty, reason);
        emit StakeChanged(owner, r.stake, r.locked, r.unbondAt);
        _token.safeTransfer(market, penalty);
    }

    /// @inheritdoc IProviderRegistry
    function token() external view returns (address) {
        return address(_token);
    }

    /// @inheritdoc IProviderRegistry
    function provider(address owner) external view returns (ProviderView memory) {
        Record storage r = _records[owner];
        bool waits = r.payoutChangeAt > block.timestamp;
        bool overlaps = r.oldSpkiUntil > block.timestamp;
        return ProviderView({
            state: r.state,
            operator: r.operator,
            payout: _payoutNow(r),
            pendingPayout: waits ? r.pendingPayout : address(0),
            payoutChangeAt: waits ? r.payoutChangeAt : 0,
            attrsHash: r.attrsHash,
            gatewayAt: r.gatewayAt == 0 ? r.firstSeen : r.gatewayAt,
            spkiHash: r.spkiHash,
            oldSpkiHash: overlaps ? r.oldSpkiHash : bytes32(0),
            oldSpkiUntil: overlaps ? r.oldSpkiUntil : 0,
            stake: r.stake,
            locked: r.locked,
            unbondAt: r.unbondAt,
            active: r.active,
            capabilities: r.bits & ~ACTIVE,
            firstSeen: r.firstSeen
        });
    }

    /// @inheritdoc IProviderRegistry
    function reputationOf(address owner) external view returns (Reputation memory) {
        return _records[owner].reputation;
    }

    /// @inheritdoc IProviderRegistry
    function standingOf(address owner) external view returns (address operator, bool active, uint96 bits) {
        Record storage r = _records[owner];
        bits = r.bits;
        return (r.operator, bits & ACTIVE != 0, bits & ~ACTIVE);
    }

    /// @inheritdoc IProviderRegistry
    function isKeyOf(address owner, address key) public view returns (bool) {
        return key == owner || key == _records[owner].operator;
    }

    /// @inheritdoc IProviderRegistry
    function isRoleOf(address owner, address who) external view returns (bool) {
        return isKeyOf(owner, who) || who == _payoutNow(_records[owner]);
    }

    /// @inheritdoc IProviderRegistry
    function payoutOf(address owner) external view returns (address) {
        return _payoutNow(_records[owner]);
    }

    /// @inheritdoc IProviderRegistry
    function attrsHashOf(address owner) external view returns (bytes32) {
        return _records[owner].attrsHash;
    }

    /// @inheritdoc IProviderRegistry
    function params() external view returns (address) {
        return address(_params);
    }

    function _now() private view returns (uint40) {
        // forge-lint: disable-next-line(unsafe-typecast) block time fits 40 bits
        return uint40(block.timestamp);
    }

    function _own() private view returns (Record storage r) {
        r = _records[msg.sender];
        require(r.state != ProviderState.None, NotAllowed());
    }

    function _unbond(Record storage r) private {
        r.unbondAt = _now() + UNBONDING;
        emit StakeChanged(msg.sender, r.stake, r.locked, r.unbondAt);
    }

    function _lock(Record storage r, uint256 amount) private {
        require(r.state == ProviderState.Active, ProviderInactive());
        uint256 free = r.stake - r.locked;
        require(amount <= free, StakeTooLow(free, amount));
        r.locked += amount.toUint88();
    }

    /// Counts stop at the most they can hold, so that a count can never keep a lease from ending.
    function _remember(Record storage r, bool slashed, uint8 reason, uint40 servedSecs, uint96 fees) private {
        Reputation memory n = r.reputation;
        bool left =
            reason >= FIRST_PROVIDER_REASON && reason <= LAST_PROVIDER_REASON && reason != RECLAIM_ELAPSED;
        unchecked {
            uint64 served = n.servedSecs + servedSecs;
            n.servedSecs = served < servedSecs ? type(uint64).max : served;
            uint96 paid = n.feesPaid + fees;
            n.feesPaid = paid < fees ? type(uint96).max : paid;
            if (left) {
                if (n.earlyExits != type(uint32).max) n.earlyExits += 1;
            } else if (n.completed != type(uint32).max) {
                n.completed += 1;
            }
            if (slashed && n.slashes != type(uint32).max) n.slashes += 1;
        }
        r.reputation = n;
    }

    function _requireUri(string calldata uri) private pure {
        require(bytes(uri).length != 0 && bytes(uri).length <= MAX_URI, BadUri());
    }

    function _payoutNow(Record storage r) private view returns (address) {
        uint40 changeAt = r.payoutChangeAt;
        return changeAt != 0 && block.timestamp >= changeAt ? r.pendingPayout : r.payout;
    }

    function _pull(uint256 amount) private {
        uint256 before = _token.balanceOf(address(this));
        _token.safeTransferFrom(msg.sender, address(this), amount);
        require(_token.balanceOf(address(this)) - before == amount, AmountMismatch());
    }
}
